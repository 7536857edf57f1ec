"""Train, test and track one model from a config."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Trainer, seed_everything

from lantu.checkpoints.checkpoint_file import folder_without_any, write_checked
from lantu.checkpoints.embedded_config import Recipe
from lantu.config.accelerators import check_hardware, look_for_gpus_quickly
from lantu.config.build import build, build_all, groups_of
from lantu.config.composing import Composition
from lantu.config.precision import choose_precision
from lantu.cost.meter import cost_meter
from lantu.data import DataModule
from lantu.data_options import check_share
from lantu.errors import Fault
from lantu.interrupts import interruptible
from lantu.log_noise import without_noise
from lantu.tasks import Task
from lantu.tracking import RunLogger
from lantu.training import faults, record
from lantu.training.build_task import build_task, make_efficient
from lantu.training.callbacks.exact_resume import ResumeCheckpoint, resume_points
from lantu.training.callbacks.interruptible import Interruptible
from lantu.training.callbacks.preemption import Preemption, in_a_submitted_job
from lantu.training.complete_config import as_plain, complete_config, publish_facts
from lantu.training.distributed import local_ranks, torchrun
from lantu.training.fit_and_test import best_checkpoint, train, validate_short_run
from lantu.training.linear_base import begin_from, fit_linear_base
from lantu.training.loop.lean_loop import make_lean
from lantu.training.loop.malloc import keep_freed_memory
from lantu.training.memory.fit import fit_memory
from lantu.training.monitors import check_monitors, check_objectives
from lantu.training.rank_progress import RankProgress
from lantu.training.result import Result
from lantu.training.resume import checkpoint_to_resume


@interruptible()
def run(composition: Composition) -> Result:
    """Train, test and track one model.

    Raises:
        UserError: the config is invalid, or does not fit the data.
    """
    cfg = complete_config(composition)
    choose_precision(cfg)
    check_hardware(cfg)
    without_noise()
    if count := local_ranks.to_start(cfg):
        check_share(cfg.data.batch_size, ranks=count)
        build(cfg.data).prepare_data()  # downloaded by one process
        return Result.from_report(local_ranks.run_in_processes(composition, count=count))
    torchrun.hand_over(composition)
    keep_freed_memory()
    seed_everything(cfg.seed, workers=True, verbose=False)
    data = build(cfg.data)
    publish_facts(cfg, data, composition)
    linear = fit_linear_base(cfg, data)
    fit_memory(cfg, data)
    task = build_task(cfg)
    make_efficient(task, cfg)
    loggers = build_all(cfg.get("logger"))
    resolved = as_plain(cfg)
    trainer = _build_trainer(cfg, task, data, loggers, resolved)
    meter = cost_meter(trainer)
    start = checkpoint_to_resume(cfg.resume, Path(cfg.paths.run), task)
    checkpoint = start.checkpoint if start else None
    if linear is not None:
        begin_from(task, linear)
    for logger in loggers if cfg.resume else []:
        if isinstance(logger, RunLogger):
            logger.resume()
    try:
        with (
            record.record_run(
                loggers, cfg, composition, resolved=resolved, data=data, task=task, trainer=trainer, start=start
            ) as recorded,
            faults.readable_failures(trainer, data, Path(cfg.paths.run)),
        ):
            metrics = train(task, data, trainer, test=cfg.test, start=checkpoint, baselines=cfg.baselines)
            recorded.describe(metrics, composition)
            if (without := folder_without_any(trainer)) is not None:
                raise Fault(
                    f"no checkpoint could be written into {without}, so the trained model is lost; the run's figures "
                    "are recorded. Make room there, or name another folder (`paths.root=DIR`); then type the same "
                    "command again."
                )
            best = best_checkpoint(trainer)
            if best is not None and cfg.save_model and task.answers and not trainer.interrupted:
                recorded.keep_model(best, data, task)
    finally:
        if meter:
            meter.close()
    return Result(
        metrics=metrics,
        run_id=recorded.run_id,
        run_dir=Path(cfg.paths.run),
        best_checkpoint=best,
        cost=meter.spent if meter else {},
        energy_source=meter.energy_source if meter else "",
        answers=task.answers,
        usage=task.usage(Path(cfg.paths.run)),
        cfg=cfg,
        trained=lambda: (task, data),
    )


def _build_trainer(
    cfg: DictConfig, task: Task, data: DataModule, loggers: list[Any], resolved: dict[str, Any]
) -> Trainer:
    """Build the trainer with all callbacks, and check it against the task and the data.

    Args:
        resolved: the config in plain values, for the checkpoints.

    Raises:
        UserError: an option of the trainer or a monitored metric does not fit them.
    """
    named = {name: build_all({name: node})[0] for name, node in _wanted_callbacks(cfg).items() if node}
    callbacks = [Interruptible(), *named.values(), Recipe(resolved), *_private_training(cfg, task, data)]
    callbacks += _by_group(cfg, task, data)
    if not local_ranks.is_alone(cfg):
        callbacks.append(RankProgress(Path(cfg.paths.run)))
    if in_a_submitted_job():
        callbacks.append(Preemption())
    callbacks.sort(key=lambda each: not isinstance(each, ResumeCheckpoint))  # its hooks must run first
    trainer: Trainer = build(cfg.trainer, logger=loggers, callbacks=callbacks)
    task.check_trainer(trainer)
    check_monitors(named, task, trainer, data)
    if cfg.sweep.trial is not None:
        check_objectives(cfg.sweep.objective, task)
    if cfg.lean:
        make_lean(trainer)
    points = resume_points(trainer)
    write_checked(trainer, keep=points.keep if points else 1)
    look_for_gpus_quickly()
    validate_short_run(trainer, data, steps_per_batch=task.steps_per_batch)
    return trainer


def _wanted_callbacks(cfg: DictConfig) -> dict[str, Any]:
    """The callbacks, without the progress bar if the trainer shows none: Lightning refuses that combination."""
    shown = cfg.trainer.get("enable_progress_bar", True)
    return {name: node for name, node in (cfg.get("callbacks") or {}).items() if name != "progress" or shown}


def _private_training(cfg: DictConfig, task: Task, data: DataModule) -> list[Any]:
    """Make the optimizer and the batches private for `privacy=dp`, and return its callback."""
    privacy = build(cfg.get("privacy"))
    if privacy is None:
        return []
    privacy.protect(task, data, run_dir=Path(cfg.paths.run), resumes=cfg.resume is not None)
    return [privacy]


def _by_group(cfg: DictConfig, task: Task, data: DataModule) -> list[Any]:
    """Prepare the task and the data for `fairness.group=[...]`, and return its callback."""
    if not groups_of(cfg):
        return []
    fairness = build(cfg.fairness)
    fairness.prepare(task, data)
    return [fairness]
