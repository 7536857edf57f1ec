"""One run from config to result."""

from lantu.training.callbacks import LearningRate, Progress
from lantu.training.figures import Figures
from lantu.training.run import Result, run, train

__all__ = ["Figures", "LearningRate", "Progress", "Result", "run", "train"]
