"""Training steps that skip the hooks no module or callback implements.

At every step Lightning calls some twenty hooks of the module, the strategy and each callback. Nearly all do nothing,
and together they take a millisecond, longer than the step of a small network. This loop finds the implemented hooks
once an epoch and calls those alone, in the same order and with the same counters. One difference remains: the last
gradients are freed before the training step and not after it, so `p.grad` is None during the step.
"""

from contextlib import nullcontext
from math import inf
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher
from pytorch_lightning.loops.optimization.automatic import ClosureResult
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from lantu.intervals import RankSync
from lantu.notices import warn_once
from lantu.training.loop.lean_hooks import Hooks, has_own
from lantu.training.loop.lightning_internals import why_not_lean
from lantu.training.loop.results import Results

REPLACED_STEPS = ("backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping")
"""Parts of a step that a module may override; for such a module Lightning's own loop is used."""

NOTHING = nullcontext()


def make_lean(trainer: Trainer) -> None:
    """Replace the loop of a trainer that has not started; warn if the installed Lightning does not fit."""
    if why := why_not_lean():
        warn_once(f"`lean=true` is left out: {why}. Lightning's own loop takes the steps, with the same numbers.")
        return
    theirs = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, min_steps=theirs.min_steps, max_steps=theirs.max_steps)
    trainer.fit_loop.epoch_loop.val_loop._results = Results(training=False)


class LeanEpochLoop(_TrainingEpochLoop):
    """Lightning's loop over the batches of an epoch, with its own step."""

    def __init__(self, trainer: Trainer, **limits: Any) -> None:
        super().__init__(trainer, **limits)
        self._results: Results = Results(training=True)
        self._rank_sync = RankSync()
        self._hooks: Hooks | None = None
        self._validates_every: float | None = None

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        """Find the implemented hooks for one epoch."""
        super().on_run_start(data_fetcher)
        self._results.reads_lazily = isinstance(self.trainer.progress_bar_callback, RichProgressBar | None)
        plain = is_plain(self.trainer) and not isinstance(data_fetcher, _DataLoaderIterDataFetcher)
        self._hooks = Hooks(self.trainer, data_fetcher) if plain else None
        self._validates_every = _batches_between_validations(self.trainer)

    @property
    def done(self) -> bool:
        """Whether the epoch or training has ended."""
        if self._hooks is None or self._restarting or self.trainer.should_stop:
            return bool(super().done)
        steps = self.automatic_optimization.optim_progress.optimizer.step.total.completed
        return bool(steps >= self.max_steps != -1) or self._is_last_ready(self._hooks)

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Fetch a batch, train on it and update the counters."""
        hooks, progress, connector = self._hooks, self.batch_progress, self.trainer._logger_connector
        if hooks is None or self._restarting:
            return super().advance(data_fetcher)
        if self.val_loop.restarting:  # the validation resumed from a checkpoint is done; the next is complete
            self.val_loop.restarting = False
        if hooks.ranks > 1 and self._rank_sync.is_time(self.trainer):
            self._broadcast_sigterm_tensor()  # Lightning does it at every step
        batch = hooks.next_batch()
        batch_idx = progress.current.ready
        progress.is_last_batch = data_fetcher.done
        batch = hooks.transfer_batch(batch)

        progress.increment_ready()
        summing = self.trainer.accumulate_grad_batches > 1 and self._should_accumulate()
        connector._first_loop_iter = connector._first_loop_iter is None
        self._results.batch, self._results.batch_size, self._results.dataloader_idx = batch, None, None
        enough, output = False, None
        if batch is None:
            self._warning_cache.warn("the training data gave None for a batch, which is passed over.")
        elif enough := hooks.call("on_train_batch_start", batch, batch_idx) == -1:  # Lightning's sign to end the epoch
            progress.increment_by(0, is_last_batch=True)
        else:
            progress.increment_started()
            output = self._train_step(hooks, batch, batch_idx, summing=summing)
        progress.increment_processed()
        if hooks.has_schedules:
            if not summing:
                self._update_learning_rates("step", update_plateau_schedulers=False)
            if self._is_last_ready(hooks):
                self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        if enough:
            raise StopIteration

        hooks.call("on_train_batch_end", output, batch, batch_idx)
        if self._results.has_new_values:
            connector.on_batch_end()
            self._results.has_new_values = False
        self._results.batch = self._results.batch_size = None
        progress.increment_completed()
        if not summing and hooks.logs(self._batches_that_stepped):
            connector.update_train_step_metrics()

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        """Validate where it is due, and count the step."""
        trainer, progress, every = self.trainer, self.batch_progress, self._validates_every
        if (
            self._hooks is None
            or every is None
            or progress.is_last_batch
            or progress.current.ready % every == 0
            or trainer.should_stop
            or trainer._signal_connector.received_sigterm
            or self._restarting
            or self._skip_next_val
        ):
            return super().on_advance_end(data_fetcher)
        if trainer.accumulate_grad_batches == 1 or not self._should_accumulate():
            self._batches_that_stepped += 1

    def _is_last_ready(self, hooks: Hooks) -> bool:
        """Whether the epoch's last batch was fetched: `_num_ready_batches_reached`, without its look-ups."""
        return self.batch_progress.is_last_batch or self.batch_progress.current.ready == hooks.batches

    def _train_step(self, hooks: Hooks, batch: Any, batch_idx: int, *, summing: bool) -> dict[str, Any]:
        """Run forward and backward and, unless gradients are still being accumulated, the optimizer."""
        trainer, optimizer = self.trainer, self.trainer.optimizers[0]
        counted = self.automatic_optimization.optim_progress.optimizer
        if not summing:
            counted.step.increment_ready()
        if batch_idx % trainer.accumulate_grad_batches == 0:
            # before the forward pass, not after it as in Lightning: activations can reuse the gradients' memory
            counted.zero_grad.increment_ready()
            hooks.call("on_before_zero_grad", optimizer)
            counted.zero_grad.increment_started()
            optimizer.zero_grad()
            counted.zero_grad.increment_completed()
        with trainer.strategy.block_backward_sync() if summing and hooks.ranks > 1 else NOTHING:
            with hooks.inside("training_step"):
                returned = hooks.training_step(batch, batch_idx)
            if returned is None and hooks.ranks > 1:
                raise RuntimeError("a training step that returns None leaves the other devices waiting.")
            loss, output = _loss_and_output(returned, share=trainer.accumulate_grad_batches)
            if loss is not None:
                hooks.call("on_before_backward", loss)
                loss.backward()
                hooks.call("on_after_backward")
        if not summing:
            hooks.call("on_before_optimizer_step", optimizer)
            if trainer.gradient_clip_val:
                trainer.lightning_module.clip_gradients(optimizer)
            optimizer.step()
            counted.step.increment_completed()
        return output


def is_plain(trainer: Trainer) -> bool:
    """Whether a step is forward, backward and optimizer, on one device or with DDP, and is not profiled."""
    module, strategy, precision = trainer.lightning_module, trainer.strategy, trainer.precision_plugin
    return (
        module.automatic_optimization
        and is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
        and not any(has_own(module, name, LightningModule) for name in REPLACED_STEPS)
        and not isinstance(trainer.optimizers[0], torch.optim.LBFGS)  # it evaluates a batch several times
        and type(strategy) in (SingleDeviceStrategy, DDPStrategy)
        and getattr(strategy, "_model_averager", None) is None
        and (type(precision) is Precision or (type(precision) is MixedPrecision and precision.scaler is None))
        and isinstance(trainer.profiler, PassThroughProfiler)
    )


def _batches_between_validations(trainer: Trainer) -> float | None:
    """After how many batches of an epoch, other than its last, to validate; None: Lightning decides after each."""
    decides = (
        trainer._val_check_time_interval is not None
        or trainer.check_val_every_n_epoch is None
        or any(each.reduce_on_plateau for each in trainer.lr_scheduler_configs)
        or (isinstance(trainer.limit_train_batches, int) and trainer.val_check_batch == inf)
    )
    return None if decides else trainer.val_check_batch


def _loss_and_output(returned: Any, *, share: int) -> tuple[Tensor | None, dict[str, Any]]:
    """The loss for the backward pass and the output for hooks, from the tensor or dictionary of a training step."""
    if isinstance(returned, Tensor):
        loss = returned / share if share > 1 else returned
        return loss, {"loss": loss.detach()}
    result = ClosureResult.from_training_step_output(returned, share)
    return result.closure_loss, result.asdict() if result.closure_loss is not None else {}
