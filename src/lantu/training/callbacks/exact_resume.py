"""A callback that writes checkpoints from which a run resumes exactly, with the same result as without interruption."""

import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.trainer.states import TrainerFn

from lantu.checkpoints.checkpoint_file import LAST, settled
from lantu.errors import UserError
from lantu.intervals import broadcast_from_rank_zero, log_interval
from lantu.tasks import metric_state
from lantu.training.callbacks.rng_state import random_state, set_random_state

KEY = "lantu.point"
"""The checkpoint entry with the epoch, the batch, and further state at that batch."""
EPOCH_SECONDS = 10.0
"""Minimum time between two checkpoints at the start of an epoch: a shorter epoch is as quickly repeated."""


class ResumeCheckpoint(Callback):
    """Write `last.ckpt` before a batch, when all work of the batches before it is done, and at the end.

    Lightning's own checkpoints are written in the middle of a step: before a schedule has seen the epoch's loss, before
    metrics are logged, or with partly accumulated gradients. A checkpoint of this callback resumes at its exact batch,
    with the random state, the running metrics and the last validation metrics of that moment.

    Args:
        folder: where `last.ckpt` is written.
        minutes: time between two checkpoints inside an epoch: the most work that a killed run has to repeat.
        steps: optimizer steps between two checkpoints, in addition; None: only time counts.
        keep: how many are kept: `last.ckpt`, `last-1.ckpt`, ...
    """

    def __init__(self, folder: Path | str, *, minutes: float = 5.0, steps: int | None = None, keep: int = 2) -> None:
        if minutes <= 0:
            raise UserError(f"`callbacks.resume.minutes={minutes}` must be a time above zero.")
        if steps is not None and steps < 1:
            raise UserError(f"`callbacks.resume.steps={steps}` must be at least 1, or null for time alone.")
        if keep < 1:
            raise UserError(f"`callbacks.resume.keep={keep}`: at least 1 is kept; `callbacks.resume=null` keeps none.")
        self.path = Path(folder) / LAST
        self.minutes, self.steps, self.keep = minutes, steps, keep
        self._saving = False
        self._saved_step = 0
        self._saved_at = 0.0
        self._found: dict[str, Any] | None = None

    def save(self, trainer: Trainer) -> None:
        """Write a checkpoint now, on all ranks.

        Call it from `on_train_batch_start` of a later callback, if `is_clean`.
        """
        if trainer.global_step == self._saved_step:
            return
        self._saving = True
        try:
            trainer.save_checkpoint(self.path)
        finally:
            self._saving = False
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    # Saving

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._found is not None:
            self._restore(trainer, pl_module, self._found)
            self._found = None
        elif (
            batch_idx
            and self.steps is None
            and time.monotonic() - self._saved_at < self.minutes * 60
            and trainer.world_size == 1
        ):
            return  # nearly always so, and the quickest question
        elif is_clean(trainer, batch_idx) and self._is_due(trainer, batch_idx):
            self.save(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self._saving:
            return
        metrics = {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()}
        own = {"random": random_state(trainer.strategy.root_device), "sums": metric_state.collect(pl_module)}
        checkpoint[KEY] = {**_place(trainer), "metrics": metrics, "ranks": _of_all_ranks(own, trainer)}

    def _is_due(self, trainer: Trainer, batch_idx: int) -> bool:
        if self.steps and trainer.global_step % self.steps == 0:
            return True
        # ranks must agree, and a broadcast at every step would stall a GPU
        if batch_idx and trainer.world_size > 1 and trainer.global_step % log_interval(trainer):
            return False
        waited = time.monotonic() - self._saved_at
        due = waited >= (self.minutes * 60 if batch_idx else min(self.minutes * 60, EPOCH_SECONDS))
        return broadcast_from_rank_zero(trainer, due)

    # Resuming

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        data: Any = getattr(trainer, "datamodule", None)
        loops = checkpoint["loops"]["fit_loop"]
        if KEY not in checkpoint:  # a checkpoint of Lightning's own resumes at the start of an epoch
            if data is not None:
                data.begins = (loops["epoch_progress"]["current"]["processed"], 0)
            return
        self._found = found = dict(checkpoint[KEY])
        stopping = [each for each in trainer.callbacks if isinstance(each, EarlyStopping)]
        if any(checkpoint["callbacks"].get(each.state_key, {}).get("stopping_reason") for each in stopping):
            trainer.should_stop = True  # Lightning restores the reason but not the flag
        if data is not None and found["batches"]:
            found["batches"] = data.batches_done(found["batches"], batch_size=found["batch_size"])
        if data is not None:
            data.begins = (found["epoch"], found["batches"])
        _point_to(loops, epoch=found["epoch"], batches=found["batches"])

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._found is not None:  # there was nothing left to train
            _show_again(trainer, self._found)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        steps = _of_all_ranks(trainer.global_step, trainer)
        if len(set(steps)) > 1:
            raise UserError(
                f"the ranks do not go on from the same checkpoint: they are at the steps {', '.join(map(str, steps))}. "
                "Let all machines see one folder, and name it: `resume=FOLDER`."
            )
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        if self._found is None:
            return
        fit, epoch = trainer.fit_loop, trainer.fit_loop.epoch_loop
        if not self._found["batches"]:
            # with `max_steps` Lightning assumes that every resumed run is inside an epoch
            fit._restarting = epoch.restarting = False
        elif epoch._should_check_val_fx(fit._data_fetcher):
            # the validation ran before the checkpoint; Lightning skips it, but counts a step for it
            epoch._batches_that_stepped -= 1

    def _restore(self, trainer: Trainer, pl_module: LightningModule, found: dict[str, Any]) -> None:
        trainer.fit_loop._restarting = False  # otherwise a ReduceLROnPlateau would not see this epoch's loss
        ranks, rank, device = found["ranks"], trainer.global_rank, trainer.strategy.root_device
        sums = [each["sums"] for each in ranks]
        if len(ranks) == trainer.world_size:
            metric_state.restore(pl_module, sums[rank])
        elif rank == 0:
            metric_state.restore(pl_module, metric_state.reduce(pl_module, sums))
        set_random_state(ranks[rank % len(ranks)]["random"], device)
        _show_again(trainer, found)


def is_clean(trainer: Trainer, batch_idx: int) -> bool:
    """Return whether no gradients are accumulated before this batch: weights and optimizer state are consistent."""
    return batch_idx % trainer.accumulate_grad_batches == 0


def resume_points(trainer: Trainer) -> ResumeCheckpoint | None:
    """Return the trainer's `ResumeCheckpoint` callback, if it has one."""
    return next((each for each in trainer.callbacks if isinstance(each, ResumeCheckpoint)), None)


def saved_now(trainer: Trainer) -> bool:
    """Write a checkpoint, wait until it is on disk, and return whether it is; False without the callback."""
    points = resume_points(trainer)
    if points is None:
        return False
    points.save(trainer)
    return settled(trainer, points.path)


def _place(trainer: Trainer) -> dict[str, int]:
    """Return the epoch, and the number of its batches that are done."""
    fit, progress = trainer.fit_loop, trainer.fit_loop.epoch_loop.batch_progress.current
    size = getattr(getattr(trainer, "datamodule", None), "batch_size", 1)
    epoch, batches = fit.epoch_progress.current.processed, progress.processed
    if progress.ready == batches:  # at the end of training, whose last epoch may be incomplete
        batches -= batches % trainer.accumulate_grad_batches
        if batches and progress.ready < trainer.num_training_batches:
            return {"epoch": epoch - 1, "batches": batches, "batch_size": size}
        return {"epoch": epoch, "batches": 0, "batch_size": size}
    return {"epoch": epoch, "batches": batches, "batch_size": size}


def _point_to(loops: dict[str, Any], *, epoch: int, batches: int) -> None:
    """Rewrite the state of Lightning's loops, so that training resumes before the given batch."""
    begun = epoch + (batches > 0)
    for counts in loops["epoch_progress"].values():
        counts.update(ready=begun, started=begun, processed=epoch, completed=epoch)
    progress = loops["epoch_loop.batch_progress"]
    total = progress["total"]["processed"]
    progress["total"].update(ready=total, started=total, processed=total, completed=total)
    progress["current"].update(ready=batches, started=batches, processed=batches, completed=batches)
    progress["is_last_batch"] = False


def _show_again(trainer: Trainer, found: dict[str, Any]) -> None:
    """Restore the metrics of the last validation."""
    device = trainer.strategy.root_device
    last = {name: value.to(device) for name, value in found["metrics"].items()}
    trainer._logger_connector._callback_metrics.update(last)


def _of_all_ranks(own: Any, trainer: Trainer) -> list[Any]:
    if trainer.world_size == 1:
        return [own]
    states: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(states, own)
    return states
