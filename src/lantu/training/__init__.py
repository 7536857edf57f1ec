"""One run from config to result."""

from lantu.starting import uncounted

with uncounted():
    from lantu.training.callbacks import BestCheckpoints, LearningRate, Progress
    from lantu.training.figures import Figures
    from lantu.training.finite import FiniteLoss
    from lantu.training.points import ResumePoints
    from lantu.training.run import Result, run, train
    from lantu.training.safetensors_file import SafetensorsFile
    from lantu.training.samples import Samples
    from lantu.training.sharded import Sharded
    from lantu.training.transformers_folder import TransformersFolder

__all__ = [
    "BestCheckpoints",
    "Figures",
    "FiniteLoss",
    "LearningRate",
    "Progress",
    "Result",
    "ResumePoints",
    "SafetensorsFile",
    "Samples",
    "Sharded",
    "TransformersFolder",
    "run",
    "train",
]
