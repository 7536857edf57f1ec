"""A cluster that wants its machine back: the batch in hand ends and a checkpoint is kept first."""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lantu.intervals import RankSync
from lantu.notices import warn_once
from lantu.training.callbacks.exact_resume import is_clean, saved_now

Handler = Callable[[int, FrameType | None], Any]


class Preemption(Callback):
    """Puts off what the signals do, such as submitit's queueing the job again, until a checkpoint has been written.

    SLURM sends the signal some time before the time limit (`hydra.launcher.signal_delay_s`). SIGTERM, which comes
    before a preemption and before a `scancel` alike, ends the run after the checkpoint, as Lightning does; SLURM
    decides what becomes of the job.
    """

    def __init__(self) -> None:
        self._told: int | None = None
        self._kept: dict[int, Handler] = {}
        self._in_training, self._in_validation = RankSync(), RankSync()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen in place of submitit's and Lightning's handlers."""
        for number in (requeue_signal(), signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                self._kept[number] = handler
                signal.signal(number, self._note)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep a checkpoint where one can be made, and leave."""
        if is_clean(trainer, batch_idx) and self._is_told(trainer, self._in_training):
            kept = bool(trainer.strategy.broadcast(saved_now(trainer)))  # rank zero writes
            step = f"a checkpoint is kept at step {trainer.global_step}"
            self._leave(step if kept else "no checkpoint could be kept now; it goes on from the newest one, if any")

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """There may be no time for the rest of a long validation; the newest checkpoint has to do."""
        if self._is_told(trainer, self._in_validation):
            self._leave("it goes on from the newest checkpoint")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._told = number

    def _is_told(self, trainer: Trainer, asking: RankSync) -> bool:
        """Whether any rank has had the signal: all of them must write the checkpoint at the same step."""
        if trainer.world_size == 1:
            return self._told is not None
        if not asking.is_time(trainer):
            return False
        number = torch.tensor(self._told or 0, device=trainer.strategy.root_device)
        self._told = int(trainer.strategy.reduce(number, reduce_op="max")) or None
        return self._told is not None

    def _leave(self, what: str) -> None:
        assert self._told is not None
        number, self._told = self._told, None
        warn_once(f"{signal.Signals(number).name}: the cluster wants its machine back; {what}.")
        if number in self._kept:
            self._kept[number](number, None)

    def _restore(self) -> None:
        while self._kept:
            signal.signal(*self._kept.popitem())


def in_a_submitted_job() -> bool:
    """Whether submitit has started this process."""
    return "SUBMITIT_EXECUTOR" in os.environ


def requeue_signal() -> signal.Signals:
    """The signal that submitit asks the cluster for."""
    return signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
