"""Preemption by a cluster: finish the current batch and write a checkpoint before the process exits."""

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
    """Delay the signals' handlers, such as submitit's requeue, until a checkpoint has been written.

    SLURM sends the signal some time before the time limit (`hydra.launcher.signal_delay_s`). SIGTERM precedes both a
    preemption and a `scancel`. It ends the run after the checkpoint, as in Lightning; SLURM decides whether the job is
    requeued.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._handlers: dict[int, Handler] = {}
        self._in_training, self._in_validation = RankSync(), RankSync()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace the signal handlers of submitit and Lightning."""
        for number in (requeue_signal(), signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                self._handlers[number] = handler
                signal.signal(number, self._on_signal)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """After a signal, write a checkpoint before the next clean batch, and call the original handler."""
        if is_clean(trainer, batch_idx) and self._has_signal(trainer, self._in_training):
            kept = bool(trainer.strategy.broadcast(saved_now(trainer)))  # rank zero writes
            step = f"a checkpoint is kept at step {trainer.global_step}"
            self._call_handler(
                step if kept else "no checkpoint could be kept now; it goes on from the newest one, if any"
            )

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """After a signal, stop a validation with the newest checkpoint: there may be no time to finish it."""
        if self._has_signal(trainer, self._in_validation):
            self._call_handler("it goes on from the newest checkpoint")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the signal handlers."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the signal handlers."""
        self._restore()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._received = number

    def _has_signal(self, trainer: Trainer, asking: RankSync) -> bool:
        """Return whether any rank has received the signal: all ranks must write the checkpoint at the same step."""
        if trainer.world_size == 1:
            return self._received is not None
        if not asking.is_time(trainer):
            return False
        number = torch.tensor(self._received or 0, device=trainer.strategy.root_device)
        self._received = int(trainer.strategy.reduce(number, reduce_op="max")) or None
        return self._received is not None

    def _call_handler(self, what: str) -> None:
        assert self._received is not None
        number, self._received = self._received, None
        warn_once(f"{signal.Signals(number).name}: the cluster is about to stop this job; {what}.")
        if number in self._handlers:
            self._handlers[number](number, None)

    def _restore(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())


def in_a_submitted_job() -> bool:
    """Return whether submitit started this process."""
    return "SUBMITIT_EXECUTOR" in os.environ


def requeue_signal() -> signal.Signals:
    """Return the signal that submitit configures for preemption and timeout."""
    return signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]
