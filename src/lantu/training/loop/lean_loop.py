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
from lightning_fabric.plugins.precision import Precision as FabricPrecision
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning import __version__ as lightning_version
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from pytorch_lightning.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher
from pytorch_lightning.loops.optimization.automatic import ClosureResult, _AutomaticOptimization
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.loops.utilities import _is_max_limit_reached
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy, Strategy
from pytorch_lightning.trainer.connectors.logger_connector import _LoggerConnector
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from lantu.intervals import RankSync
from lantu.notices import warn_once

STEP_HOOKS = (
    "on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step", "on_train_batch_end",
)  # fmt: skip
"""Hooks that both callbacks and modules have."""
TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""Hooks of modules and data modules that change a batch before the training step."""
REPLACED_STEPS = ("backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping")
"""Parts of a step that a module may override; for such a module Lightning's own loop is used."""

NOTHING = nullcontext()

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
    (_LoggerConnector, "on_batch_start"),
    (_LoggerConnector, "on_batch_end"),
    (_LoggerConnector, "update_train_step_metrics"),
    (_LoggerConnector, "should_update_logs"),
    (ModelCheckpoint, "on_train_batch_end"),
)
"""Methods of Lightning that this loop replaces, or calls although they are private. A test compares their source with
that of the tested version.
"""


def why_not_lean(version: str = lightning_version) -> str:
    """Why this loop does not fit the installed Lightning; empty: it does."""
    if not TESTED[0] <= tuple(int(part) for part in version.split(".")[:2]) < TESTED[1]:
        return f"it was tested with Lightning {TESTED[0][0]}.{TESTED[0][1]}, and {version} is installed"
    missing = [f"{owner.__name__}.{name}" for owner, name in RELIES_ON if not hasattr(owner, name)]
    return f"this Lightning has no {', '.join(missing)}" if missing else ""


def make_lean(trainer: Trainer) -> None:
    """Replace the loop of a trainer that has not started; warn if the installed Lightning does not fit."""
    if why := why_not_lean():
        warn_once(f"`lean=true` is left out: {why}. Lightning's own loop takes the steps, with the same numbers.")
        return
    theirs = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, min_steps=theirs.min_steps, max_steps=theirs.max_steps)


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
        self._hooks = Hooks(self.trainer) if plain else None
        self._validates_every = _batches_between_validations(self.trainer)

    @property
    def done(self) -> bool:
        """Whether the epoch or training has ended."""
        if self._hooks is None or self.restarting or self.trainer.should_stop:
            return bool(super().done)
        steps = self.automatic_optimization.optim_progress.optimizer.step.total.completed
        return bool(_is_max_limit_reached(steps, self.max_steps) or self._num_ready_batches_reached())

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Fetch a batch, train on it and update the counters."""
        hooks, progress, connector = self._hooks, self.batch_progress, self.trainer._logger_connector
        if hooks is None or self.restarting:
            return super().advance(data_fetcher)
        if self.val_loop.restarting:  # the validation resumed from a checkpoint is done; the next is complete
            self.val_loop.restarting = False
        if hooks.ranks > 1 and self._rank_sync.is_time(self.trainer):
            self._broadcast_sigterm_tensor()  # Lightning does it at every step
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        batch = hooks.transfer_batch(batch)

        progress.increment_ready()
        summing = self._should_accumulate()
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
            if self._num_ready_batches_reached():
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
            or trainer.received_sigterm
            or self.restarting
            or self._skip_next_val
        ):
            return super().on_advance_end(data_fetcher)
        if not self._should_accumulate():
            self._batches_that_stepped += 1

    def _train_step(self, hooks: "Hooks", batch: Any, batch_idx: int, *, summing: bool) -> dict[str, Any]:
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


class Results(_ResultCollection):
    """The values logged in training.

    Lightning collects them after every batch, which synchronises with the GPU for the values in the progress bar. Here
    they are collected only after a new value was logged.
    """

    has_new_values = False
    reads_lazily = False
    """Whether the progress bar converts tensors itself when it draws, as Rich's does and TQDM's does not."""

    def log(self, *args: Any, **options: Any) -> None:
        self.has_new_values = True
        super().log(*args, **options)

    def metrics(self, on_step: bool) -> Any:
        """As Lightning's, but values for the progress bar stay on the device until the bar draws them."""
        shown = [each for each in self.values() if each.meta.prog_bar]
        if not (on_step and self.reads_lazily and shown):
            return super().metrics(on_step)
        for each in shown:
            each.meta.prog_bar = False
        try:
            found = super().metrics(on_step)
        finally:
            for each in shown:
                each.meta.prog_bar = True
        for _, each in self.valid_items():
            value = self._get_cache(each, on_step) if each.meta.prog_bar else None
            if isinstance(value, Tensor):
                found["pbar"][self._forked_name(each, on_step)[1]] = value
        return found


def is_plain(trainer: Trainer) -> bool:
    """Whether a step is forward, backward and optimizer, on one device or with DDP, and is not profiled."""
    module, strategy, precision = trainer.lightning_module, trainer.strategy, trainer.precision_plugin
    return (
        module.automatic_optimization
        and is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
        and not any(_has_own(module, name, LightningModule) for name in REPLACED_STEPS)
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


class Hooks:
    """The implemented hooks of a step, and what else does not change during an epoch, found once.

    Args:
        trainer: about to begin an epoch.
    """

    def __init__(self, trainer: Trainer) -> None:
        module, data = trainer.lightning_module, trainer.datamodule
        self._trainer, self._module = trainer, module
        self._callbacks = {
            name: [
                getattr(each, name)
                for each in trainer.callbacks
                if _has_own(each, name, Callback) and not _saves_between_steps(each, name)
            ]
            for name in STEP_HOOKS
        }
        self._modules = {name: getattr(module, name) for name in STEP_HOOKS if _has_own(module, name, LightningModule)}
        self._moves = trainer.strategy.root_device.type != "cpu" or any(
            _has_own(module, name, LightningModule) or _has_own(data, name, LightningDataModule)
            for name in TRANSFER_HOOKS
        )
        self.ranks: int = trainer.world_size
        self.has_schedules = bool(trainer.lr_scheduler_configs)
        self._log_interval = trainer.log_every_n_steps if trainer.loggers or trainer.fast_dev_run else 0
        direct = self.ranks == 1 and type(trainer.precision_plugin) is Precision and trainer.strategy.model is module
        self.training_step = module.training_step if direct else trainer.strategy.training_step
        """Without the contexts that Lightning enters for it, where these do nothing."""

    def logs(self, steps: int) -> bool:
        """Whether Lightning may have values for the loggers after a step that follows `steps` others."""
        interval = self._log_interval
        return bool(interval) and (
            self._trainer.should_stop or self._trainer.fast_dev_run or (steps + 1) % interval == 0
        )

    def transfer_batch(self, batch: Any) -> Any:
        """Return the batch in the right precision and on the device."""
        batch = self._trainer.precision_plugin.convert_input(batch)
        if not self._moves:
            return batch
        batch = self._module._on_before_batch_transfer(batch, dataloader_idx=0)
        return self._trainer.strategy.batch_to_device(batch, dataloader_idx=0)

    def call(self, name: str, *args: Any) -> Any:
        """Call the hook of the callbacks, in order, then that of the module, and return the latter's result."""
        callbacks, own = self._callbacks[name], self._modules.get(name)
        if not callbacks and own is None:
            return None
        with self.inside(name):
            for each in callbacks:
                each(self._trainer, self._module, *args)
            return own(*args) if own else None

    def inside(self, name: str) -> "_Inside":
        """Set the module's current hook, which `self.log` reads."""
        return _Inside(self._module, name)


class _Inside:
    """A context manager; as a class, since one from a generator takes three times as long."""

    def __init__(self, module: LightningModule, name: str) -> None:
        self._attributes, self._name = module.__dict__, name  # avoids the slow Module.__setattr__

    def __enter__(self) -> None:
        self._attributes["_current_fx_name"] = self._name

    def __exit__(self, *_: object) -> None:
        self._attributes["_current_fx_name"] = None


def _loss_and_output(returned: Any, *, share: int) -> tuple[Tensor | None, dict[str, Any]]:
    """The loss for the backward pass and the output for hooks, from the tensor or dictionary of a training step."""
    if isinstance(returned, Tensor):
        loss = returned / share if share > 1 else returned
        return loss, {"loss": loss.detach()}
    result = ClosureResult.from_training_step_output(returned, share)
    return result.closure_loss, result.asdict() if result.closure_loss is not None else {}


def _saves_between_steps(callback: Any, hook: str) -> bool:
    """Whether a hook is that of a ModelCheckpoint which saves neither by steps nor by time, and so does nothing."""
    return (
        hook == "on_train_batch_end"
        and isinstance(callback, ModelCheckpoint)
        and type(callback).on_train_batch_end is ModelCheckpoint.on_train_batch_end
        and callback._every_n_train_steps < 1
        and callback._train_time_interval is None
    )


def _has_own(each: object, name: str, parent: type) -> bool:
    return getattr(type(each), name, None) is not getattr(parent, name) or name in vars(each)
