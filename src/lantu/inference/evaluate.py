"""The `evaluate` command: a run's metrics, measured again."""

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Trainer, seed_everything

from lantu.checkpoints.digest import KEY, digest_of
from lantu.config.build import build, groups_of
from lantu.errors import UserError, is_full_disk
from lantu.inference.arguments import check_split
from lantu.inference.compare_baselines import beside_baselines
from lantu.inference.rebuild import Rebuilt, rebuild
from lantu.log_noise import without_noise
from lantu.tracking.find import find_checkpoint
from lantu.whole_files import write_whole


def evaluate(rebuilt: Rebuilt, trainer: Trainer, *, split: str = "test") -> dict[str, float]:
    """The metrics of a split ("test" or "val"), measured on the data that the run named."""
    check_split(split)
    seed_everything(rebuilt.cfg.seed, workers=True, verbose=False)
    rebuilt.data.prepare_data()
    rebuilt.data.setup("fit" if split == "val" else "test")
    measure = trainer.test if split == "test" else trainer.validate
    (metrics,) = measure(rebuilt.task, datamodule=rebuilt.data, verbose=False)
    found = {name: float(value) for name, value in metrics.items()}
    if split == "test":
        shown = rebuilt.task.samples(rebuilt.data, stage="test")
        found |= {name: float(value) for name, value in shown.items() if isinstance(value, int | float)}
    return found


def _measure_by_group(rebuilt: Rebuilt, trainer: Trainer, cfg: DictConfig) -> Any:
    """Let the trainer measure the test by group as well; returns the callback that does.

    Raises:
        UserError: another split is asked for, a mitigation, or a task that has no groups.
    """
    if cfg.split != "test" or cfg.fairness.mitigation is not None:
        raise UserError("`lantu evaluate fairness.group=[...]` measures the test split, and mitigates nothing.")
    fairness = build(cfg.fairness)
    fairness.prepare(rebuilt.task, rebuilt.data)
    rebuilt.data.carry(cfg.fairness.group)
    trainer.callbacks.append(fairness)
    return fairness


def _by_group(fairness: Any) -> dict[str, Any]:
    """What `fairness.json` holds."""
    sizes = {each.name: dict(zip(each.groups, each.counts, strict=True)) for each in fairness.found}
    return {"group": list(fairness.group), "metrics": fairness.metrics, "examples": sizes}


def _keep(name: str, content: dict[str, Any], checkpoint: Path, cfg: DictConfig) -> None:
    """Write what was measured into the run's folder, for `lantu promote` and `lantu launch`; not of changed data."""
    if cfg.data or checkpoint.parent.name != "checkpoints":
        return
    path = checkpoint.parent.parent / name
    try:
        write_whole(path, json.dumps({KEY: digest_of(checkpoint), **content}, indent=1))
    except OSError as error:
        if is_full_disk(error):
            raise
        print(f"lantu evaluate: {path} cannot be written: {error.strerror}", file=sys.stderr)


def job(cfg: DictConfig) -> dict[str, float]:
    """Measure, and print a table."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    without_noise()
    try:
        checkpoint = find_checkpoint(str(cfg.run), store=Path(cfg.paths.store), tracking_uri=cfg.paths.tracking_uri)
        rebuilt = rebuild(checkpoint, data_options=cfg.data, cache=cfg.paths.cache)
        trainer = build(cfg.trainer)
        if cfg.baselines and cfg.split != "test":
            raise UserError(f"`baselines=true` compares on the test split: leave out `split={cfg.split}`.")
        fairness = _measure_by_group(rebuilt, trainer, cfg) if groups_of(cfg) else None
        metrics = evaluate(rebuilt, trainer, split=cfg.split)
        if fairness is not None and fairness.found:
            _keep("fairness.json", _by_group(fairness), checkpoint, cfg)
        if cfg.baselines:
            _keep("baselines.json", {"metrics": beside_baselines(rebuilt.task, rebuilt.data, trainer)}, checkpoint, cfg)
    except UserError as error:
        print(f"lantu evaluate: {error}", file=sys.stderr)
        sys.exit(2)
    table = Table(box=None, padding=(0, 2))
    table.add_column("metric", style="cyan")
    table.add_column(cfg.split, justify="right")
    for name, value in metrics.items():
        table.add_row(name.partition("/")[2], f"{value:.6g}")
    console = Console()
    console.print(f"\n[bold]{escape(str(rebuilt.cfg.name))}[/bold]\n{checkpoint}", highlight=False, soft_wrap=True)
    console.print(table)
    return metrics
