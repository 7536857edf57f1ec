"""One run from config to result."""

from lantu.training.figures import Figures
from lantu.training.run import Result, run, train

__all__ = ["Figures", "Result", "run", "train"]
