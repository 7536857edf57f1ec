"""The run's record as a Lightning logger."""

import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn

from lantu.notices import warn_once
from lantu.tracking import journal
from lantu.tracking.deferred import hand_over_tensors
from lantu.tracking.live_journal import status_of
from lantu.tracking.recorder import RunRecorder


class RunLogger(RunRecorder, Logger):
    """`RunRecorder` for a Lightning trainer: it also takes tensors, and only rank zero writes.

    A tensor on an accelerator is copied asynchronously and is recorded within `fsync_seconds`.
    """

    takes_tensors = True
    keeps_tables = True
    """`log_table` takes columns and a file name."""
    _recorded: dict[str, int] | None = None
    """The last recorded step of each metric, after a resume."""

    log_params = rank_zero_only(RunRecorder.log_params)
    choose_columns = rank_zero_only(RunRecorder.choose_columns)
    log_tags = rank_zero_only(RunRecorder.log_tags)
    log_artifact = rank_zero_only(RunRecorder.log_artifact)
    log_text = rank_zero_only(RunRecorder.log_text)
    log_dict = rank_zero_only(RunRecorder.log_dict)
    log_table = rank_zero_only(RunRecorder.log_table)
    log_input = rank_zero_only(RunRecorder.log_input)

    @property
    def name(self) -> str:
        """The MLflow experiment."""
        return self._experiment

    @property
    def version(self) -> str:
        """The run's folder name, which is also its default name."""
        return self._folder.run_dir.name

    @property
    def save_dir(self) -> str:
        """The run's folder: checkpoints go below it."""
        return str(self._folder.run_dir)

    @property
    def root_dir(self) -> str:
        return self.save_dir

    @property
    def log_dir(self) -> str:
        return self.save_dir

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record numbers at a step; None: the step of the last call."""
        if not _is_rank_zero():
            return
        step = self._step if step is None else step
        self._step = step
        if self._recorded:
            metrics = {name: value for name, value in metrics.items() if step > self._recorded.get(name, -1)}
        values: dict[str, float] = {}
        tensors: dict[str, Tensor] = {}
        for name, value in metrics.items():
            if type(value) is float:
                values[name] = value
            elif isinstance(value, Tensor) and value.device.type != "cpu":
                tensors[name] = value
            else:
                try:
                    values[name] = float(value)
                except (TypeError, ValueError):
                    warn_once(f"the metric `{name}` is not a number but a {type(value).__name__}: not recorded.")
        opened = self._open()
        if tensors:
            self._live.append_when_arrived(step, values, tensors)
        elif values:
            opened.append("metrics", step=step, values=values)

    def resume(self) -> None:
        """Continue after a resume from a checkpoint: steps recorded before are not recorded again."""
        if _is_rank_zero() and self._folder.records.is_file():
            self._recorded = journal.last_steps(self._folder.records)

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        self.log_params(vars(params) if isinstance(params, Namespace) else params)

    def log_graph(self, model: nn.Module, input_array: Tensor | None = None) -> None:
        # the first call that Lightning makes to a logger; it gives access to the trainer
        trainer = getattr(model, "_trainer", None)
        if trainer is not None:
            hand_over_tensors(trainer)

    def finalize(self, status: str) -> None:
        """Remember how a stage ended; Lightning calls this after each. `close` ends the run."""
        if status != "success":
            self._live.failure = status_of(sys.exc_info()[1]) if sys.exc_info()[1] else "FAILED"
        self._live.settle(wait=True)


def _is_rank_zero() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0
