"""The hooks of a training step that a module or a callback implements, found once an epoch."""

from collections.abc import Callable
from typing import Any

from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.utilities.combined_loader import _MaxSizeCycle

STEP_HOOKS = (
    "on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step", "on_train_batch_end",
)  # fmt: skip
"""Hooks that both callbacks and modules have."""
TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")
"""Hooks of modules and data modules that change a batch before the training step."""


class Hooks:
    """The implemented hooks of a step, and what else does not change during an epoch, found once.

    Args:
        trainer: about to begin an epoch.
        fetcher: gives the epoch's batches.
    """

    def __init__(self, trainer: Trainer, fetcher: _DataFetcher) -> None:
        module, data = trainer.lightning_module, trainer.datamodule
        self._trainer, self._module = trainer, module
        idle = {id(each): _idle_hooks(each, trainer) for each in (module, *trainer.callbacks)}
        self._callbacks = {
            name: [
                getattr(each, name)
                for each in trainer.callbacks
                if has_own(each, name, Callback) and name not in idle[id(each)]
            ]
            for name in STEP_HOOKS
        }
        self._modules = {
            name: getattr(module, name)
            for name in STEP_HOOKS
            if has_own(module, name, LightningModule) and name not in idle[id(module)]
        }
        self._moves = trainer.strategy.root_device.type != "cpu" or any(
            has_own(module, name, LightningModule) or has_own(data, name, LightningDataModule)
            for name in TRANSFER_HOOKS
        )
        self.ranks: int = trainer.world_size
        self.has_schedules = bool(trainer.lr_scheduler_configs)
        self._log_interval = 1 if trainer.fast_dev_run else trainer.log_every_n_steps if trainer.loggers else 0
        direct = self.ranks == 1 and type(trainer.precision_plugin) is Precision and trainer.strategy.model is module
        self.training_step = module.training_step if direct else trainer.strategy.training_step
        """Without the contexts that Lightning enters for it, where these do nothing."""
        self.batches = trainer.num_training_batches
        """Of the epoch; infinity if unknown."""
        self.next_batch = _next_of_one_loader(fetcher) or (lambda: next(fetcher)[0])
        """Return the next batch and update the fetcher's counters."""

    def logs(self, steps: int) -> bool:
        """Whether Lightning may have values for the loggers after a step that follows `steps` others."""
        interval = self._log_interval
        return bool(interval) and (self._trainer.should_stop or (steps + 1) % interval == 0)

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
        attributes = self._module.__dict__  # as `inside`, without its object
        attributes["_current_fx_name"] = name
        try:
            for each in callbacks:
                each(self._trainer, self._module, *args)
            return own(*args) if own is not None else None
        finally:
            attributes["_current_fx_name"] = None

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


def _next_of_one_loader(fetcher: _DataFetcher) -> Callable[[], Any] | None:
    """A fetch without the layers that Lightning puts around its loader, where it is one whose length is known.

    Lightning combines loaders, keeps batches in lists, and flattens and restores those at every step.
    """
    combined = fetcher.combined_loader
    iterator: Any = combined._iterator
    known = type(fetcher) is _PrefetchDataFetcher and fetcher.length is not None
    if not known or type(iterator) is not _MaxSizeCycle or combined.iterables is not combined.flattened[0]:
        return None
    batches, length = iterator.iterators[0], fetcher.length

    def following() -> Any:
        try:
            batch = next(batches)
        except StopIteration:
            fetcher.done = True
            raise
        iterator._idx += 1
        fetcher.fetched += 1
        fetcher.done = fetcher.fetched >= length
        return batch

    return following


def _idle_hooks(each: Any, trainer: Trainer) -> set[str]:
    """The hooks of a module or callback that do nothing during an epoch, by its own `idle_hooks`.

    Lightning's ModelCheckpoint, which has no such method, has one where it saves neither by steps nor by time.
    """
    if hasattr(each, "idle_hooks"):
        found: set[str] = each.idle_hooks(trainer)
        return found
    saves_at_epochs_alone = (
        isinstance(each, ModelCheckpoint)
        and type(each).on_train_batch_end is ModelCheckpoint.on_train_batch_end
        and each._every_n_train_steps < 1
        and each._train_time_interval is None
    )
    return {"on_train_batch_end"} if saves_at_epochs_alone else set()


def has_own(each: object, name: str, parent: type) -> bool:
    """Whether an object or its class implements a method that its parent only declares."""
    return getattr(type(each), name, None) is not getattr(parent, name) or name in vars(each)
