"""What a model of pictures and texts must beat: chance, and looking up the texts of similar training pictures."""

import time

import numpy as np
import torch

from lantu.data.data_module import DataModule
from lantu.tasks.baselines import Baseline
from lantu.tasks.retrieval import chance, measures, share

SIDE = 8
"""Pixels that pictures are averaged to, in height and width."""
NEIGHBOURS = 5


def retrieval_baselines(data: DataModule) -> list[Baseline]:
    """Chance, and tag lookup: a picture is described by the words of the five most similar training pictures.

    Pictures are compared by 8×8 pixels, words by the cosine of their TF-IDF weights.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    started = time.perf_counter()
    words = TfidfVectorizer(sublinear_tf=True).fit(data.texts_of("train"))
    pictures, training = _pixels(data, "train"), words.transform(data.texts_of("train"))
    random: dict[str, float] = {}
    found: dict[str, float] = {}
    names = [name.replace("_", " ") for name in data.spec["class_names"]]
    for split in (name for name in ("val", "test") if name in data.splits):
        y = data.splits[split].y  # type: ignore[attr-defined]
        similar = _pixels(data, split) @ pictures.T
        nearest = np.argsort(-similar, axis=1)[:, :NEIGHBOURS]
        described = np.asarray(np.stack([training[rows].mean(axis=0).A1 for rows in nearest]))
        own = words.transform(data.texts_of(split))
        measured = measures(torch.from_numpy(described @ own.T.toarray()), y["text"])
        found |= {f"{split}/{name}": float(value) for name, value in measured.items()}
        expected = chance(y["text"])
        random |= {f"{split}/{name}": value for name, value in expected.items()}
        random[f"{split}/mean_recall"] = float(np.mean(list(expected.values())))
        known = (y["class"] >= 0).numpy()
        if known.any():
            guessed = (described @ words.transform(names).T.toarray()).argmax(1)
            right = int((guessed == y["class"].numpy())[known].sum())
            found |= {
                f"{split}/{name}": float(value)
                for name, value in share("zero_shot_accuracy", right, int(known.sum()), intervals=False).items()
            }
            random[f"{split}/zero_shot_accuracy"] = 1 / len(names)
    return [
        Baseline("trivial", "a random order", random, 0.0),
        Baseline(
            "classical",
            f"tag lookup: the words of the {NEIGHBOURS} most similar training pictures",
            found,
            time.perf_counter() - started,
        ),
    ]


def _pixels(data: DataModule, split: str) -> np.ndarray:
    """Pictures (N, F) as few pixels, of length 1."""
    examples = data.splits[split]
    blocks = []
    for first in range(0, len(examples), 512):  # type: ignore[arg-type]
        x, _ = examples.__getitems__(list(range(first, min(first + 512, len(examples)))))  # type: ignore[attr-defined, arg-type]
        blocks.append(torch.nn.functional.adaptive_avg_pool2d(x["image"], SIDE).flatten(1))
    pixels = torch.cat(blocks).numpy()
    return pixels / np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1e-9)
