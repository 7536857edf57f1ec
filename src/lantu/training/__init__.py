"""One run from config to result."""

from lantu.lazy_imports import gc_paused

with gc_paused():
    from lantu.training.callbacks.averaging import EMA
    from lantu.training.callbacks.best_checkpoints import BestCheckpoints
    from lantu.training.callbacks.early_stopping import EarlyStopping
    from lantu.training.callbacks.exact_resume import ResumeCheckpoint
    from lantu.training.callbacks.figures import Figures
    from lantu.training.callbacks.finite_loss import FiniteLoss
    from lantu.training.callbacks.intelligibility import Intelligibility
    from lantu.training.callbacks.learning_rate import LearningRate
    from lantu.training.callbacks.predictions import Predictions
    from lantu.training.callbacks.progress_bar import Progress
    from lantu.training.callbacks.safetensors_file import SafetensorsFile
    from lantu.training.callbacks.text_samples import Samples
    from lantu.training.callbacks.transformers_folder import TransformersFolder
    from lantu.training.distributed.fsdp2 import Sharded
    from lantu.training.fit_and_test import train
    from lantu.training.result import Result
    from lantu.training.run import run
    from lantu.training.trainer import Trainer

__all__ = [
    "EMA",
    "BestCheckpoints",
    "EarlyStopping",
    "Figures",
    "FiniteLoss",
    "Intelligibility",
    "LearningRate",
    "Predictions",
    "Progress",
    "Result",
    "ResumeCheckpoint",
    "SafetensorsFile",
    "Samples",
    "Sharded",
    "Trainer",
    "TransformersFolder",
    "run",
    "train",
]

ResumePoints = ResumeCheckpoint
"""The name of `ResumeCheckpoint` in configs written before version 0.2."""
