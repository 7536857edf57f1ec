"""Train one model from a config. Only this module reads the config and builds the objects."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict
from pytorch_lightning import LightningModule, Trainer, seed_everything

from lantu.checkpoints.checkpoint_file import write_checked
from lantu.checkpoints.embedded_config import Recipe
from lantu.config.build import build, build_all, decided_parts, groups_of, measured_by
from lantu.config.checking import check
from lantu.config.composing import Composition, compose
from lantu.config.hardware import check_hardware, look_for_gpus_quickly
from lantu.config.naming import experiment_name, run_name
from lantu.cost.meter import cost_meter
from lantu.data import DataModule
from lantu.data.samplers import check_share
from lantu.errors import UserError
from lantu.interrupts import interruptible
from lantu.intervals import steps_done
from lantu.log_noise import without_noise
from lantu.loggers import log_metrics
from lantu.models.activation_checkpointing import checkpoint_activations
from lantu.redaction import redact
from lantu.tasks import Task
from lantu.tracking import RunLogger
from lantu.tracking.find import place_to_resume
from lantu.training import faults, record
from lantu.training.callbacks.exact_resume import ResumeCheckpoint, resume_points
from lantu.training.callbacks.preemption import Preemption, in_a_submitted_job
from lantu.training.callbacks.small import Interruptible
from lantu.training.compare_baselines import beside_baselines
from lantu.training.distributed import local_ranks, torchrun
from lantu.training.loop.compile import compile_loss, speed_up
from lantu.training.loop.lean_loop import make_lean
from lantu.training.loop.malloc import keep_freed_memory
from lantu.training.memory.fit import fit_memory
from lantu.training.monitors import check_monitors, check_objectives
from lantu.training.rank_progress import RankProgress
from lantu.training.resume import checkpoint_to_resume, is_run


@dataclass(frozen=True)
class Result:
    """The result of a run, for use in Python."""

    metrics: dict[str, float]
    run_id: str | None
    """The MLflow run id; None without a logger, or until the run has been uploaded."""
    run_dir: Path
    best_checkpoint: Path | None
    cost: dict[str, float]
    """The cost by the name of the metric, such as `cost/usd`; empty without the cost callback."""
    energy_source: str
    """Whether the energy was measured or estimated."""
    answers: bool
    """Whether the model can be applied to new data; a masked language model must be fine-tuned first."""
    usage: list[tuple[str, str]]
    """Commands for the trained model, as pairs of the command and its purpose."""
    cfg: DictConfig
    trained: Callable[[], tuple[LightningModule, DataModule]]
    """Returns `module` and `data`; reads them from disk if other processes trained."""

    @cached_property
    def _both(self) -> tuple[LightningModule, DataModule]:
        return self.trained()

    @property
    def module(self) -> LightningModule:
        """The trained task, with the weights of the best checkpoint; its network is `module.net`."""
        return self._both[0]

    @property
    def data(self) -> DataModule:
        """The data module that it was trained on."""
        return self._both[1]

    def report(self) -> dict[str, Any]:
        """The result as values for JSON, to be sent to another process; `from_report` reads them."""
        names = ("metrics", "run_id", "run_dir", "best_checkpoint", "cost", "energy_source", "answers", "usage")
        return {name: getattr(self, name) for name in names} | {"cfg": OmegaConf.to_container(self.cfg, resolve=False)}

    @classmethod
    def from_report(cls, report: dict[str, Any]) -> "Result":
        """A result from another process. The checkpoint is read on the first access to `module` or `data`."""
        cfg = OmegaConf.create(report.pop("cfg"))
        best = Path(report["best_checkpoint"]) if report["best_checkpoint"] else None
        found = {"run_dir": Path(report["run_dir"]), "best_checkpoint": best, "cfg": cfg}
        return cls(**{**report, **found}, trained=lambda: _read(cfg, best))


@interruptible()
def run(composition: Composition) -> Result:
    """Train, test and track one model.

    Raises:
        UserError: the config is invalid, or does not fit the data.
    """
    cfg = completed(composition)
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
    fit_memory(cfg, data)
    task = build_task(cfg)
    _make_efficient(task, cfg)
    loggers = build_all(cfg.get("logger"))
    named = {name: build_all({name: node})[0] for name, node in _wanted_callbacks(cfg).items() if node}
    callbacks = [Interruptible(), *named.values(), Recipe(as_plain(cfg)), *_private_training(cfg, task, data)]
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
    meter = cost_meter(trainer)
    start = checkpoint_to_resume(cfg.resume, Path(cfg.paths.run), task)
    for logger in loggers if cfg.resume else []:
        if isinstance(logger, RunLogger):
            logger.resume()
    try:
        with (
            record.record_run(loggers, cfg, composition, data=data, task=task, trainer=trainer) as recorded,
            faults.readable_failures(trainer, data, Path(cfg.paths.run)),
        ):
            metrics = train(task, data, trainer, test=cfg.test, start=start, baselines=cfg.baselines)
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


def validate_short_run(trainer: Trainer, data: DataModule, *, steps_per_batch: int = 1) -> None:
    """Make a run that is shorter than an epoch validate at its end, which Lightning would skip.

    Args:
        steps_per_batch: of optimizers, all of which count in `trainer.max_steps`.
    """
    batches = -(-trainer.max_steps * trainer.accumulate_grad_batches // steps_per_batch)
    epoch, limit = len(data.train_dataloader()), trainer.limit_train_batches
    epoch = min(epoch, limit) if isinstance(limit, int) else int(epoch * limit)
    if 0 < batches < epoch and trainer.val_check_interval == 1.0:
        trainer.val_check_interval = batches


def best_checkpoint(trainer: Trainer) -> Path | None:
    """The path of the best checkpoint; None if no checkpoints are kept."""
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    there = bool(best) and Path(best).exists()  # writing it may have failed on a full disk
    if trainer.world_size > 1:  # only rank zero writes it, and has waited for the file
        there = trainer.strategy.broadcast(there)
    return Path(best) if there else None


def completed(composition: Composition) -> DictConfig:
    """The checked config with its names filled in."""
    check(composition)
    cfg = composition.cfg
    with open_dict(cfg):
        cfg.choices = composition.choices
        cfg.experiment_name = cfg.experiment_name or experiment_name(composition)
        cfg.name = redact(str(cfg.name or run_name(composition)))
        cfg.paths.run = cfg.paths.run
        if cfg.resume:
            paths = cfg.paths
            cfg.resume = place_to_resume(str(cfg.resume), store=Path(paths.store), tracking_uri=paths.tracking_uri)
            if is_run(cfg.resume) and not any(each.startswith("paths.run=") for each in composition.overrides):
                paths.run = str(Path(cfg.resume).expanduser().absolute())
    return cfg


def publish_facts(cfg: DictConfig, data: DataModule, composition: Composition) -> None:
    """Read the data, and fill in the facts that the config of the model and the task refers to."""
    data.carry([*measured_by(cfg), *groups_of(cfg)])
    data.prepare_data()
    data.setup("fit")
    with open_dict(cfg):
        cfg.spec = dict(data.spec)
        if "auto" in cfg.task:
            own = {name: value for name, value in cfg.task.items() if name != "auto"}
            cfg.task = OmegaConf.merge(compose(command=f"task/{cfg.task.auto}").cfg.task, own)
            composition.choices["task"] = cfg.choices.task = cfg.spec.task
        changed = task_class(cfg.task).facts(data.spec, as_plain(cfg.task, resolve=False))
        cfg.spec = {**data.spec, **changed}
    check(composition)
    _check_outputs(cfg)


def _check_outputs(cfg: DictConfig) -> None:
    """Refuse a number of outputs that a task of Lantu cannot use; a user's own may use the network in another way."""
    asked, wanted = cfg.model.get("outputs"), cfg.spec.get("outputs")
    is_lantus = task_class(cfg.task).__module__.startswith("lantu.")
    if is_lantus and isinstance(asked, int) and isinstance(wanted, int) and asked != wanted:
        raise UserError(
            f"`model.outputs={asked}`: {cfg.task['_target_'].rpartition('.')[2]} needs {wanted} outputs for these "
            "data. Leave the option out."
        )


def task_class(node: DictConfig) -> type[Task]:
    """The class of a task that a node of the config names.

    Raises:
        UserError: it is not a task.
    """
    found = get_object(str(node["_target_"]))
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise UserError(
            f"`task._target_={node['_target_']}` is no task: it must be a class made from `lantu.tasks.Task`."
        )
    return found


def build_task(cfg: DictConfig) -> Task:
    """Build the task with its network, initialised and with adapters."""
    net = build(cfg.model)
    if cfg.model.get("pretrained") and hasattr(net, "form"):
        with open_dict(cfg):  # to rebuild the network without the folder of the weights
            cfg.model.config = net.form
    initialise = build(cfg.init)
    if initialise is not None:
        initialise(net)
    adapt = build(cfg.get("peft"))
    if adapt is not None:
        adapt(net)
    optimizer, scheduler = build(cfg.optimizer), build(cfg.scheduler)
    return build(cfg.task, net=net, optimizer=optimizer, scheduler=scheduler, **_decided_parts(cfg))


def _decided_parts(cfg: DictConfig) -> dict[str, Any]:
    """The calibration and the decision of the config; refused for a task without class probabilities."""
    parts = decided_parts(cfg)
    if parts and not task_class(cfg.task).decides:
        group = "calibration" if "calibration" in parts else "business"
        chosen = cfg.choices.get(group) if "choices" in cfg else "..."
        raise UserError(
            f"`{group}={chosen}` needs the probabilities of classes, and `task={cfg.choices.get('task')}` has none: "
            f"leave it out (`{group}=none`)."
        )
    return parts


def _make_efficient(task: Task, cfg: DictConfig) -> None:
    """Apply the options that save memory or time without changing the result."""
    if cfg.activation_checkpointing:
        checkpoint_activations(task.net)
    speed_up(task.net, compiled=cfg.compile, channels_last=cfg.channels_last)
    if cfg.compile:
        compile_loss(task)


def _read(cfg: DictConfig, best: Path | None) -> tuple[LightningModule, DataModule]:
    """Load what other processes trained: the task with the weights of a checkpoint, and its data."""
    from lantu.checkpoints.load import load

    if best is None or not best.is_file():
        raise UserError("the ranks that trained this model have ended and left no checkpoint file to read it from.")
    data = build(cfg.data)
    data.prepare_data()
    data.setup("fit")
    task = build_task(cfg)
    task.load_state_dict(load(best)["state_dict"])
    return task, data


def as_plain(cfg: DictConfig, *, resolve: bool = True) -> dict[str, Any]:
    """Convert a config to dictionaries and lists, with interpolations resolved or kept as written."""
    plain = OmegaConf.to_container(cfg, resolve=resolve)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


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


def _numbers(trainer: Trainer) -> dict[str, float]:
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
