"""A text that a language model writes, and what is measured of it."""

import numpy as np

from lantu.data import TokenDataModule
from lantu.tasks.language_modeling import LanguageModeling
from lantu.tasks.text_quality import measures


def written(task: LanguageModeling, data: TokenDataModule) -> tuple[str, dict[str, float]]:
    """A text that goes on from the beginning of the test split, and what is measured of it, named as it is logged."""
    prompt, text = task.sample(data.decode, stage="test")
    found = measures(text[len(prompt) :], data.training_text())
    return text, {f"test/{name}": float(np.float32(value)) for name, value in found.items()}
