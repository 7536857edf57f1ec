"""A callback that stores what a run answers for each example, so that runs can be compared example by example."""

from math import isnan
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.checkpoints.digest import KEY, weights_digest
from lantu.errors import UserError
from lantu.notices import warn_once
from lantu.prediction_file import FOLDER, write_predictions
from lantu.tasks import Task
from lantu.tasks.outputs import to_host

Columns = dict[str, list[Any]]


class Predictions(Callback):
    """Stores `predictions/val.parquet` of the best epoch and `predictions/test.parquet`, in the run and its artifacts.

    The columns are those of `task.per_example`: the example's number in its split, target, prediction, probability,
    loss. A task without it stores nothing.

    Args:
        most_rows: examples of a split that are stored at most: the first ones of each rank.
    """

    def __init__(self, *, most_rows: int = 100_000) -> None:
        if most_rows < 1:
            raise UserError(
                f"`callbacks.predictions.most_rows={most_rows}`: at least 1; `callbacks.predictions=null` stores none."
            )
        self.most_rows = most_rows
        self._columns: Columns = {}
        self._best: float | None = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._columns = {}

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._collect(pl_module, outputs)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and self._is_best(trainer):
            self._write(trainer, "val")
        self._columns = {}

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._hand_over(trainer, "val")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._columns = {}

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        self._collect(pl_module, outputs)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._write(trainer, "test")
        self._hand_over(trainer, "test")
        self._columns = {}

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best = state_dict["best"]

    def _collect(self, task: LightningModule, outputs: Any) -> None:
        if outputs is None or not isinstance(task, Task) or self._count() >= self.most_rows:
            return
        try:
            found = task.per_example(to_host(outputs))
        except Exception as error:  # the run's figures do not depend on it
            warn_once(f"predictions of single examples are not stored: {type(error).__name__}: {error}.")
            return
        for name, values in (found or {}).items():
            listed = values.tolist() if hasattr(values, "tolist") else list(values)
            self._columns.setdefault(name, []).extend(listed)

    def _count(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def _is_best(self, trainer: Trainer) -> bool:
        """Whether this epoch's checkpoint is the best so far; without a metric to go by, the last epoch is."""
        checkpoint = trainer.checkpoint_callback
        monitor = getattr(checkpoint, "monitor", None)
        value = trainer.callback_metrics.get(monitor) if monitor else None
        if value is None:
            return True
        found, sign = float(value), 1.0 if getattr(checkpoint, "mode", "min") == "min" else -1.0
        if isnan(found) or (self._best is not None and not sign * found < sign * self._best):
            return False
        self._best = found
        return True

    def _write(self, trainer: Trainer, split: str) -> None:
        """Write what was collected; all ranks must call it."""
        columns = _of_all_ranks(self._columns)
        if not columns or not trainer.is_global_zero or trainer.fast_dev_run:
            return
        import pandas as pd

        frame = pd.DataFrame(columns)
        if split == "test" and (digest := weights_digest(trainer.lightning_module.state_dict())):
            frame.attrs[KEY] = digest  # parquet keeps it: predictions of other weights are not compared
        if "row" not in frame and trainer.world_size == 1:
            frame.insert(0, "row", range(len(frame)))
        if "row" in frame:  # ranks of unequal share measure some examples twice
            frame = frame.drop_duplicates("row").sort_values("row", kind="stable", ignore_index=True)
        folder = Path(trainer.default_root_dir) / FOLDER
        part = folder / f"{split}.parquet.part"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_predictions(frame.head(self.most_rows), part)
            part.replace(folder / f"{split}.parquet")
        except OSError as error:
            part.unlink(missing_ok=True)
            warn_once(f"predictions of single examples could not be kept: {error.strerror or error}.")

    def _hand_over(self, trainer: Trainer, split: str) -> None:
        path = Path(trainer.default_root_dir) / FOLDER / f"{split}.parquet"
        if not trainer.is_global_zero or trainer.fast_dev_run or not path.is_file():
            return
        for logger in trainer.loggers:
            if hasattr(logger, "log_artifact"):
                logger.log_artifact(path, FOLDER)


def _of_all_ranks(columns: Columns) -> Columns:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return columns
    parts: list[Columns] = [{} for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(parts, columns)
    return {name: [value for part in parts for value in part.get(name, [])] for name in parts[0]}
