"""What the lean loop relies on inside Lightning, and the versions that it was tested with."""

from lightning_fabric.plugins.precision import Precision as FabricPrecision
from pytorch_lightning import __version__ as lightning_version
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from pytorch_lightning.loops.optimization.automatic import _AutomaticOptimization
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.strategies import Strategy
from pytorch_lightning.trainer.connectors.logger_connector import _LoggerConnector
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection, _ResultMetric
from pytorch_lightning.utilities.combined_loader import CombinedLoader, _MaxSizeCycle

TESTED = ((2, 6), (2, 7))
"""The tested versions of Lightning: from the first, below the second."""
RELIES_ON: tuple[tuple[type, str], ...] = (
    (_TrainingEpochLoop, "__init__"),
    (_TrainingEpochLoop, "on_run_start"),
    (_TrainingEpochLoop, "done"),
    (_TrainingEpochLoop, "advance"),
    (_TrainingEpochLoop, "on_advance_end"),
    (_TrainingEpochLoop, "_should_check_val_fx"),
    (_TrainingEpochLoop, "_should_check_val_epoch"),
    (_TrainingEpochLoop, "update_lr_schedulers"),
    (_TrainingEpochLoop, "_update_learning_rates"),
    (_TrainingEpochLoop, "_num_ready_batches_reached"),
    (_TrainingEpochLoop, "_should_accumulate"),
    (_TrainingEpochLoop, "_broadcast_sigterm_tensor"),
    (_DataFetcher, "__next__"),
    (_PrefetchDataFetcher, "__iter__"),
    (_PrefetchDataFetcher, "__next__"),
    (CombinedLoader, "__next__"),
    (_MaxSizeCycle, "__next__"),
    (_AutomaticOptimization, "run"),
    (_AutomaticOptimization, "_make_zero_grad_fn"),
    (_AutomaticOptimization, "_make_backward_fn"),
    (_AutomaticOptimization, "_training_step"),
    (Precision, "optimizer_step"),
    (Precision, "_wrap_closure"),
    (Precision, "_after_closure"),
    (Precision, "train_step_context"),
    (FabricPrecision, "forward_context"),
    (Strategy, "training_step"),
    (_ResultCollection, "log"),
    (_ResultMetric, "to"),
    (_LoggerConnector, "on_batch_start"),
    (_LoggerConnector, "on_batch_end"),
    (_LoggerConnector, "update_train_step_metrics"),
    (_LoggerConnector, "should_update_logs"),
    (ModelCheckpoint, "on_train_batch_end"),
)
"""Methods of Lightning that the lean loop replaces, or calls although they are private.

A test compares their source with that of the tested version.
"""


def why_not_lean(version: str = lightning_version) -> str:
    """Why the lean loop does not fit the installed Lightning; empty: it does."""
    if not TESTED[0] <= tuple(int(part) for part in version.split(".")[:2]) < TESTED[1]:
        return f"it was tested with Lightning {TESTED[0][0]}.{TESTED[0][1]}, and {version} is installed"
    missing = [f"{owner.__name__}.{name}" for owner, name in RELIES_ON if not hasattr(owner, name)]
    return f"this Lightning has no {', '.join(missing)}" if missing else ""
