"""A training step without the questions to which nobody has an answer.

At every step Lightning calls some twenty hooks of the module, the strategy and each callback, nearly all of which do
nothing: a millisecond in all, longer than a small network's step. This loop asks once an epoch who has something to
say, and then does the same things in the same order, with the same counters, for those. One thing comes earlier: the
gradients of the last step are freed before the training step and not after it, so `p.grad` is None in there.
"""

from contextlib import nullcontext
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning import __version__ as lightning_version
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loops.fetchers import _DataFetcher, _DataLoaderIterDataFetcher
from pytorch_lightning.loops.optimization.automatic import ClosureResult, _AutomaticOptimization
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from pytorch_lightning.trainer.connectors.logger_connector import _LoggerConnector
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection
from pytorch_lightning.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from lantu.intervals import RankSync
from lantu.notices import warn_once

AT_A_STEP = (
    "on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step", "on_train_batch_end",
)  # fmt: skip
"""The hooks that callbacks and modules have alike."""
ON_THE_WAY = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""What modules and data modules may do to a batch before it is learnt from."""
IN_ITS_OWN_WAY = ("backward", "optimizer_step", "optimizer_zero_grad", "configure_gradient_clipping")
"""What a module may do otherwise than Lightning does; then Lightning's loop is the one to let it."""


TESTED = ((2, 6), (2, 7))
"""The versions of Lightning whose loop this one stands in for: from the first to before the second."""
RELIES_ON: tuple[tuple[type, str], ...] = (
    (_TrainingEpochLoop, "__init__"),
    (_TrainingEpochLoop, "on_run_start"),
    (_TrainingEpochLoop, "advance"),
    (_TrainingEpochLoop, "update_lr_schedulers"),
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
    (_ResultCollection, "log"),
    (_LoggerConnector, "on_batch_start"),
    (_LoggerConnector, "on_batch_end"),
    (_LoggerConnector, "update_train_step_metrics"),
)
"""All of Lightning that is done here in another way or called though it is private. A test compares their source with
that of the tested version.
"""


def why_not_lean(version: str = lightning_version) -> str:
    """Why this loop does not fit the installed Lightning; empty: it does."""
    if not TESTED[0] <= tuple(int(part) for part in version.split(".")[:2]) < TESTED[1]:
        return f"it was tested with Lightning {TESTED[0][0]}.{TESTED[0][1]}, and {version} is installed"
    missing = [f"{owner.__name__}.{name}" for owner, name in RELIES_ON if not hasattr(owner, name)]
    return f"this Lightning has no {', '.join(missing)}" if missing else ""


def make_lean(trainer: Trainer) -> None:
    """Let a trainer that has not begun take its steps this way; says so where the installed Lightning does not fit."""
    if why := why_not_lean():
        warn_once(f"`lean=true` is left out: {why}. Lightning's own loop takes the steps, with the same numbers.")
        return
    theirs = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = LeanEpochLoop(trainer, min_steps=theirs.min_steps, max_steps=theirs.max_steps)


class LeanEpochLoop(_TrainingEpochLoop):
    """Lightning's loop over the batches of an epoch, with a step of its own."""

    def __init__(self, trainer: Trainer, **limits: Any) -> None:
        super().__init__(trainer, **limits)
        self._results: Results = Results(training=True)
        self._asking = RankSync()
        self._hooks: Hooks | None = None

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        """Find out, for one epoch, who listens to what."""
        super().on_run_start(data_fetcher)
        self._results.shown_later = isinstance(self.trainer.progress_bar_callback, RichProgressBar | None)
        plain = is_plain(self.trainer) and not isinstance(data_fetcher, _DataLoaderIterDataFetcher)
        self._hooks = Hooks(self.trainer) if plain else None

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """One batch: fetched, learnt from, counted."""
        hooks, progress, connector = self._hooks, self.batch_progress, self.trainer._logger_connector
        if hooks is None or self.restarting:
            return super().advance(data_fetcher)
        if self.val_loop.restarting:  # the one that a checkpoint went on from is done; the next is a whole one
            self.val_loop.restarting = False
        if self.trainer.world_size > 1 and self._asking.is_time(self.trainer):
            self._broadcast_sigterm_tensor()  # as Lightning does, at every step
        batch, _, _ = next(data_fetcher)
        batch_idx = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        batch = hooks.brought(batch)

        progress.increment_ready()
        connector.on_batch_start(batch)
        enough, output = False, None
        if batch is None:
            self._warning_cache.warn("the training data gave None for a batch, which is passed over.")
        elif enough := hooks.call("on_train_batch_start", batch, batch_idx) == -1:  # Lightning's word for it
            progress.increment_by(0, is_last_batch=True)
        else:
            progress.increment_started()
            output = self._learn(hooks, batch, batch_idx)
        progress.increment_processed()
        if self.trainer.lr_scheduler_configs:
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
            if self._num_ready_batches_reached():
                self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        if enough:
            raise StopIteration

        hooks.call("on_train_batch_end", output, batch, batch_idx)
        if self._results.has_news:
            connector.on_batch_end()
            self._results.has_news = False
        self._results.batch = self._results.batch_size = None
        progress.increment_completed()
        connector.update_train_step_metrics()

    def _learn(self, hooks: "Hooks", batch: Any, batch_idx: int) -> dict[str, Any]:
        """Forward, backward and, unless gradients are still being summed up, a step of the optimizer."""
        trainer, optimizer = self.trainer, self.trainer.optimizers[0]
        counted = self.automatic_optimization.optim_progress.optimizer
        summing = self._should_accumulate()
        if not summing:
            counted.step.increment_ready()
        if batch_idx % trainer.accumulate_grad_batches == 0:
            # before the forward pass, not after it as Lightning does: its activations may take the gradients' memory
            counted.zero_grad.increment_ready()
            hooks.call("on_before_zero_grad", optimizer)
            counted.zero_grad.increment_started()
            optimizer.zero_grad()
            counted.zero_grad.increment_completed()
        with trainer.strategy.block_backward_sync() if summing and trainer.world_size > 1 else nullcontext():
            with hooks.inside("training_step"):
                returned = trainer.strategy.training_step(batch, batch_idx)
            if returned is None and trainer.world_size > 1:
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
    """What has been logged in training. Lightning looks at all of it after every batch, where a GPU has to wait for the
    numbers that the progress bar shows; this knows when there is nothing new to look at.
    """

    has_news = False
    shown_later = False
    """Whether the progress bar reads its numbers itself, as Rich's does and TQDM's does not."""

    def log(self, *args: Any, **options: Any) -> None:
        self.has_news = True
        super().log(*args, **options)

    def metrics(self, on_step: bool) -> Any:
        """As Lightning's, but what the progress bar shows of a step stays on the device until the bar reads it."""
        shown = [each for each in self.values() if each.meta.prog_bar]
        if not (on_step and self.shown_later and shown):
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
    """Whether a step is forward, backward and step, on one device or over DDP, and nobody measures its parts."""
    module, strategy, precision = trainer.lightning_module, trainer.strategy, trainer.precision_plugin
    return (
        module.automatic_optimization
        and is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
        and not any(_has_own(module, name, LightningModule) for name in IN_ITS_OWN_WAY)
        and not isinstance(trainer.optimizers[0], torch.optim.LBFGS)  # it takes several looks at a batch
        and type(strategy) in (SingleDeviceStrategy, DDPStrategy)
        and getattr(strategy, "_model_averager", None) is None
        and (type(precision) is Precision or (type(precision) is MixedPrecision and precision.scaler is None))
        and isinstance(trainer.profiler, PassThroughProfiler)
    )


class Hooks:
    """The hooks of a step that somebody has written, found once.

    Args:
        trainer: one that is about to begin an epoch.
    """

    def __init__(self, trainer: Trainer) -> None:
        module, data = trainer.lightning_module, trainer.datamodule
        self._trainer, self._module = trainer, module
        self._callbacks = {
            name: [getattr(each, name) for each in trainer.callbacks if _has_own(each, name, Callback)]
            for name in AT_A_STEP
        }
        self._modules = {name: getattr(module, name) for name in AT_A_STEP if _has_own(module, name, LightningModule)}
        self._moves = trainer.strategy.root_device.type != "cpu" or any(
            _has_own(module, name, LightningModule) or _has_own(data, name, LightningDataModule) for name in ON_THE_WAY
        )

    def brought(self, batch: Any) -> Any:
        """The batch as the module gets it: with the right precision, on the device."""
        batch = self._trainer.precision_plugin.convert_input(batch)
        if not self._moves:
            return batch
        batch = self._module._on_before_batch_transfer(batch, dataloader_idx=0)
        return self._trainer.strategy.batch_to_device(batch, dataloader_idx=0)

    def call(self, name: str, *args: Any) -> Any:
        """Call the callbacks, in their order, and then the module, whose answer is returned."""
        callbacks, own = self._callbacks[name], self._modules.get(name)
        if not callbacks and own is None:
            return None
        with self.inside(name):
            for each in callbacks:
                each(self._trainer, self._module, *args)
            return own(*args) if own else None

    def inside(self, name: str) -> "_Inside":
        """Let the module know which hook it is in: `self.log` asks."""
        return _Inside(self._module, name)


class _Inside:
    """As a class: a generator would cost three times as much."""

    def __init__(self, module: LightningModule, name: str) -> None:
        self._attributes, self._name = module.__dict__, name  # past Module.__setattr__, which looks for parameters

    def __enter__(self) -> None:
        self._attributes["_current_fx_name"] = self._name

    def __exit__(self, *_: object) -> None:
        self._attributes["_current_fx_name"] = None


def _loss_and_output(returned: Any, *, share: int) -> tuple[Tensor | None, dict[str, Any]]:
    """The loss to go back from, and what is told of it: of what a training step returned, a tensor or a dictionary."""
    if isinstance(returned, Tensor):
        loss = returned / share if share > 1 else returned
        return loss, {"loss": loss.detach()}
    result = ClosureResult.from_training_step_output(returned, share)
    return result.closure_loss, result.asdict() if result.closure_loss is not None else {}


def _has_own(each: object, name: str, parent: type) -> bool:
    return getattr(type(each), name, None) is not getattr(parent, name) or name in vars(each)
