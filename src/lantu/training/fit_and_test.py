"""Fit a task and test its best checkpoint, with objects rather than a config."""

from pathlib import Path

from pytorch_lightning import Trainer

from lantu.data import DataModule
from lantu.errors import UserError
from lantu.inference.compare_baselines import beside_baselines
from lantu.intervals import steps_done
from lantu.loggers import log_metrics
from lantu.tasks import Task


def train(
    task: Task,
    data: DataModule,
    trainer: Trainer,
    *,
    test: bool = True,
    start: Path | None = None,
    baselines: bool = False,
) -> dict[str, float]:
    """Fit, then test the best checkpoint. Takes objects rather than a config.

    Args:
        start: a checkpoint to resume from.
        baselines: fit simple models as well, and compare the trained one with them on the test split.
    """
    trainer.fit(task, datamodule=data, ckpt_path=start, weights_only=True)
    metrics = _numbers(trainer) | _best_so_far(trainer)
    if test and not trainer.interrupted:
        trainer.test(task, datamodule=data, ckpt_path=best_checkpoint(trainer), weights_only=True, verbose=False)
        metrics |= _numbers(trainer)
        if baselines and trainer.is_global_zero and not trainer.fast_dev_run:
            metrics |= beside_baselines(task, data, trainer)
    return metrics


def validate_short_run(trainer: Trainer, data: DataModule, *, steps_per_batch: int = 1) -> None:
    """Make a run that is shorter than an epoch validate at its end, which Lightning would skip.

    Args:
        steps_per_batch: of optimizers, all of which count in `trainer.max_steps`.

    Raises:
        UserError: it is to validate more seldom than once in an epoch.
    """
    batches = -(-trainer.max_steps * trainer.accumulate_grad_batches // steps_per_batch)
    epoch, limit = len(data.train_dataloader()), trainer.limit_train_batches
    epoch = min(epoch, limit) if isinstance(limit, int) else int(epoch * limit)
    interval = trainer.val_check_interval
    if type(interval) is int and interval > epoch and trainer.check_val_every_n_epoch is not None:
        raise UserError(
            f"`trainer.val_check_interval={interval}`: an epoch has {epoch} batches, so it would never validate. Type "
            f"at most {epoch}, or add `trainer.check_val_every_n_epoch=null` to count across epochs."
        )
    if 0 < batches < epoch and interval == 1.0:
        trainer.val_check_interval = batches


def best_checkpoint(trainer: Trainer) -> Path | None:
    """The path of the best checkpoint; None if no checkpoints are kept."""
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    there = bool(best) and Path(best).exists()  # writing it may have failed on a full disk
    if trainer.world_size > 1:  # only rank zero writes it, and has waited for the file
        there = trainer.strategy.broadcast(there)
    return Path(best) if there else None


def _best_so_far(trainer: Trainer) -> dict[str, float]:
    """The validation metrics of the best checkpoint, such as `val/loss_best`: `val/loss` itself is the last epoch's."""
    checkpoint = trainer.checkpoint_callback
    score = getattr(checkpoint, "best_model_score", None)
    if score is None:
        return {}
    found = {**getattr(checkpoint, "best_metrics", {}), checkpoint.monitor: float(score)}
    best = {f"{name}_best": value for name, value in found.items()}
    log_metrics(trainer, best, step=steps_done(trainer))
    return best


def _numbers(trainer: Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
