"""Record a run beside its metrics: parameters, inputs, code, machine, files and model."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig
from omegaconf._utils import get_omega_conf_dumper
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import Logger
from rich.console import Console
from rich.markup import escape

from lantu.checkpoints.checkpoint_file import is_last
from lantu.checkpoints.embedded_config import Recipe
from lantu.config.composing import Composition
from lantu.config.explain import leaves
from lantu.data import DataModule
from lantu.metric_direction import known_direction
from lantu.redaction import redact, redact_tree
from lantu.tasks import Task
from lantu.tracking import RunLogger
from lantu.tracking.columns import parameter_columns
from lantu.training import provenance
from lantu.training.monitors import DEFAULT
from lantu.training.resume import Start
from lantu.training.summary import description

NO_PARAMETERS = (
    *("name", "paths", "logger", "sweep", "resume", "callbacks.pruning"),
    *("spec.class_counts", "spec.class_names", "spec.feature_names", "spec.numeric_features"),
    *("spec.word_starts", "task.word_starts", "spec.feature_columns", "business.columns"),
    *("spec.woe_columns", "model.columns"),
)
"""Config keys, or their prefixes, that are not logged as parameters: locations and tables of facts.

They are in the config file. As parameters they would differ in every run, and MLflow's compare view shows differences
first.
"""


class RunRecord:
    """The record of a running run."""

    def __init__(self, tracker: RunLogger | None, folder: Path) -> None:
        self._tracker = tracker
        self._folder = folder

    @property
    def run_id(self) -> str | None:
        """The MLflow run id; None without a logger, or until the run has been uploaded."""
        return self._tracker.run_id if self._tracker else None

    def describe(self, metrics: dict[str, float], composition: Composition) -> None:
        """Tag the run with the description that its page in MLflow begins with."""
        if self._tracker is not None:
            command = " ".join(["lantu train", *(shlex.quote(redact(each)) for each in composition.overrides)])
            self._tracker.log_tags({"mlflow.note.content": description(metrics, command)})

    def keep_model(self, checkpoint: Path, data: DataModule, task: Task) -> None:
        """Log a checkpoint as an MLflow model, the artifact `model` of the run."""
        if self._tracker is not None:
            from lantu.serving.package import write_model

            write_model(self._folder / "model", checkpoint=checkpoint, data=data, task=task, recipe_key=Recipe.KEY)
            self._tracker.log_artifact(self._folder / "model")


@contextmanager
def record_run(
    loggers: list[Logger],
    cfg: DictConfig,
    composition: Composition,
    *,
    resolved: dict[str, Any],
    data: DataModule,
    task: LightningModule,
    trainer: Trainer,
    start: Start | None = None,
) -> Iterator[RunRecord]:
    """Record a run: its origin at the start, its files and its final status at the end, also after an error.

    Args:
        resolved: the config in plain values.
        start: where the run resumes, which is printed.
    """
    tracker = next((each for each in loggers if isinstance(each, RunLogger)), None)
    parameters = _parameters(resolved, folder=str(cfg.paths.run))
    asked = _asked(composition)
    if tracker is not None and trainer.is_global_zero and not trainer.fast_dev_run:
        monitor = getattr(trainer.checkpoint_callback, "monitor", None) or DEFAULT
        tracker.choose_columns(parameter_columns(parameters, asked), monitor=monitor)
    if trainer.is_global_zero and not trainer.fast_dev_run:
        _write_files(Path(cfg.paths.run), resolved, composition, data)
        for logger in loggers:
            logger.log_hyperparams(parameters)
            logger.log_metrics(_sizes(task), step=0)
        _introduce(cfg, data, task, start)
    if tracker is None or not trainer.is_global_zero:
        yield RunRecord(None, Path(cfg.paths.run))
        return
    tracker.log_tags({**provenance.tags(), **provenance.devices(), **cfg.tags, **_own_tags(cfg, composition, task)})
    for split in data.describe():
        tracker.log_input(**split)
    for file in ("config.yaml", "overrides.txt", "data.json", "packages.txt", "uncommitted.diff"):
        if (Path(cfg.paths.run) / file).is_file():
            tracker.log_artifact(Path(cfg.paths.run) / file, "config")
    status = "FAILED"
    try:
        yield RunRecord(tracker, Path(cfg.paths.run))
        status = "KILLED" if trainer.interrupted else "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        checkpoints = Path(cfg.paths.run) / "checkpoints"
        for each in sorted(checkpoints.glob("*")):
            if each.suffix in (".ckpt", ".safetensors") and not is_last(each, but=1):
                tracker.log_artifact(each, "checkpoints")
        tracker.close(status)


def _write_files(folder: Path, resolved: Any, composition: Composition, data: DataModule) -> None:
    """Write the config, the overrides, the packages, the data report and the uncommitted changes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(_yaml(redact_tree(resolved)), encoding="utf-8")
    (folder / "overrides.txt").write_text(
        "".join(f"{redact(each)}\n" for each in composition.overrides), encoding="utf-8"
    )
    (folder / "packages.txt").write_text(provenance.packages(), encoding="utf-8")
    (folder / "data.json").write_text(json.dumps(data.report.to_dict(), indent=1, default=str), encoding="utf-8")
    diff = provenance.diff()
    if diff:
        (folder / "uncommitted.diff").write_text(redact(diff), encoding="utf-8")


def _sizes(task: LightningModule) -> dict[str, float]:
    """The number of parameters, and of trained ones if some are frozen."""
    whole = sum(each.numel() for each in task.parameters())
    trained = sum(each.numel() for each in task.parameters() if each.requires_grad)
    sizes = {"model/parameters": float(whole)}
    return sizes if trained == whole else {**sizes, "model/trained_parameters": float(trained)}


def _introduce(cfg: DictConfig, data: DataModule, task: LightningModule, start: Start | None) -> None:
    """Print the run's name and size, where it resumes, and the findings in the data."""
    console = Console()
    sizes = _sizes(task)
    trained = f", {int(sizes['model/trained_parameters']):,} trained" if len(sizes) > 1 else ""
    console.print(
        f"[bold]{escape(str(cfg.name))}[/bold]: {int(sizes['model/parameters']):,} parameters{trained}", highlight=False
    )
    if start is not None:
        console.print(
            f"  resumes at step {start.step:,} from {escape(str(start.checkpoint))}", highlight=False, soft_wrap=True
        )
    if cfg.notice:
        console.print(f"  [bold]{escape(cfg.notice)}[/bold]", highlight=False, soft_wrap=True)
    for line in data.report.lines():
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)


def _own_tags(cfg: DictConfig, composition: Composition, task: LightningModule) -> dict[str, str]:
    chosen = {
        f"lantu.{group}": str(file) for group, file in composition.choices.items() if group in ("data", "model", "task")
    }
    directions = task.metric_directions() if isinstance(task, Task) else {}
    own_directions = {name: mode for name, mode in directions.items() if known_direction(name) != mode}
    if own_directions:  # metrics whose direction cannot be derived from their names
        chosen["lantu.directions"] = json.dumps(own_directions)
    if cfg.notice:
        chosen["notice"] = str(cfg.notice)
    return {**chosen, "lantu.asked": " ".join(_asked(composition)), "lantu.run_dir": str(Path(cfg.paths.run).resolve())}


def _asked(composition: Composition) -> list[str]:
    """The names that were typed, such as `optimizer.lr` and `model`."""
    return sorted({each.lstrip("+~").partition("=")[0] for each in composition.overrides})


def _parameters(resolved: Any, *, folder: str) -> dict[str, Any]:
    """The leaves of the resolved config, without `NO_PARAMETERS` and what names the run's folder."""
    below = tuple(f"{each}." for each in NO_PARAMETERS)
    return {
        name: value
        for name, value in leaves(resolved).items()
        if name not in NO_PARAMETERS and not name.startswith(below) and folder not in str(value)
    }


def _yaml(resolved: Any) -> str:
    """The text of `OmegaConf.to_yaml`, without making a config of plain values first."""
    options: dict[str, Any] = {"default_flow_style": False, "allow_unicode": True, "sort_keys": False}
    if yaml.__with_libyaml__:
        text = str(yaml.dump(resolved, Dumper=_libyaml_dumper(), **options))
        if "\\U" not in text:  # as it writes an emoji, which the other keeps as it is
            return text
    return str(yaml.dump(resolved, Dumper=get_omega_conf_dumper(), **options))


@cache
def _libyaml_dumper() -> type[yaml.Dumper]:
    """OmegaConf's writer over libyaml's, which needs a quarter of the time."""
    return type("Dumper", (yaml.CDumper,), {"yaml_representers": get_omega_conf_dumper().yaml_representers})
