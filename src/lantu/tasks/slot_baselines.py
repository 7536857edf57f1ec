"""What a model that fills slots must beat: the commonest values, and a linear model on simple features."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lantu.data import DataModule
from lantu.tasks.baselines import Baseline
from lantu.tasks.slot_scores import SlotScores

Judge = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""`SlotFilling.judged`: from predicted and true choices (N, choices) to what `SlotScores` counts."""


def slot_baselines(data: DataModule, names: Sequence[str], judge: Judge) -> list[Baseline]:
    """Fit each slot's commonest value, and logistic regression on the data's classical features.

    Args:
        names: of the slots.
    """
    from sklearn.dummy import DummyClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = {name: data.classical_features(name, np.arange(len(data.splits[name]))) for name in data.splits}  # type: ignore[arg-type]
    models = {
        "trivial": ("the commonest value of each slot", lambda: DummyClassifier(strategy="most_frequent")),
        "classical": (
            "logistic regression on the mean and deviation of each mel band",
            lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, C=0.1)),
        ),
    }
    baselines = []
    for name, (description, make) in models.items():
        started = time.perf_counter()
        x, y = rows["train"]
        fitted = [make().fit(x, y[:, place]) for place in range(y.shape[1])]
        metrics: dict[str, float] = {}
        for split in (each for each in ("val", "test") if each in rows):
            features, truth = rows[split]
            choices = torch.from_numpy(np.stack([model.predict(features) for model in fitted], axis=1))
            scores = SlotScores(list(names))
            scores.update(*judge(choices, torch.from_numpy(truth)))
            metrics |= {f"{split}/{key}": float(value) for key, value in scores.compute().items()}
        baselines.append(Baseline(name, description, metrics, time.perf_counter() - started))
    return baselines
