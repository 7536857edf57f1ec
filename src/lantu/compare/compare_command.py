"""The `compare` command: read, compare, decide, show."""

import json
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from lantu.compare.reading.run_frames import Selection
from lantu.errors import UserError
from lantu.log_noise import without_noise
from lantu.metric_direction import direction

IN_TERMINAL = 30
"""Rows that are printed unless `top` says otherwise."""


def job(cfg: DictConfig) -> None:
    """Compare the runs that a config names: print the table and the decision, write what was asked for."""
    without_noise()
    try:
        run(cfg)
    except UserError as error:
        print(f"lantu compare: {error}", file=sys.stderr)
        sys.exit(2)


def run(cfg: DictConfig) -> None:
    """See `job`.

    Raises:
        UserError: there are no such runs, or an option is wrong.
    """
    from lantu.compare import comparison_table as tables
    from lantu.compare.analysis import analyse
    from lantu.compare.publish import publish
    from lantu.compare.reading.stores import open_reader
    from lantu.compare.recommendation import decide
    from lantu.compare.report.page import write_report
    from lantu.tracking.store import embedded_uri

    uri = cfg.tracking_uri or embedded_uri(cfg.paths.store)
    reader = open_reader(uri)
    analysis = analyse(reader, selection(cfg), options(cfg))
    arranged = tables.arrange(analysis.table, sort=cfg.sort, columns=_several(cfg.columns), top=cfg.top)
    if not cfg.json:
        tables.show(arranged if cfg.top else arranged.head(IN_TERMINAL), caption=_caption(analysis))
    if cfg.table:
        tables.write(arranged, Path(cfg.table))
    decision = decide(analysis)
    if cfg.report or cfg.log:
        with TemporaryDirectory() as folder:
            report = Path(cfg.report) if cfg.report else Path(folder) / "report.html"
            decision, further = write_report(analysis, reader, report)
            if cfg.log:
                publish(analysis, further, decision, report, reader=reader, tracking_uri=uri)
    if cfg.json:
        print(_as_json(arranged, decision))
    else:
        _say(decision, cfg)


def _as_json(table: Any, decision: Any) -> str:
    """The table's rows and the decision in words."""
    found = {"decision": decision.headline, "sentences": decision.sentences, "caution": decision.caution}
    return json.dumps({**found, "rows": json.loads(table.reset_index().to_json(orient="records"))}, indent=1)


def options(cfg: DictConfig) -> Any:
    """The options of an analysis from a config."""
    from lantu.compare.analysis import Options
    from lantu.compare.methods.roi import missing_assumptions
    from lantu.tracking.store import embedded_uri

    business = OmegaConf.to_container(cfg.business, resolve=True) if cfg.business else None
    assert business is None or isinstance(business, dict)
    if business:
        missing_assumptions({str(name): value for name, value in business.items()})
    return Options(
        metric=cfg.metric,
        mode=cfg.mode,
        objectives=_objectives(cfg.objectives),
        test_metric=cfg.test_metric,
        cost=cfg.cost,
        group_by=_several(cfg.group_by) or None,
        ignore=_several(cfg.ignore),
        level=cfg.statistics.level,
        power=cfg.statistics.power,
        pooling=cfg.statistics.pooling,
        difference=cfg.statistics.difference,
        business={str(name): value for name, value in business.items()} if business else None,
        examples=cfg.examples,
        tracking_uri=cfg.tracking_uri or embedded_uri(cfg.paths.store),
    )


def _objectives(names: Any) -> tuple[tuple[str, str], ...] | None:
    """Metrics that are traded off, with the direction of each."""
    listed = _several(names)
    if not listed:
        return None
    if len(listed) < 2:
        raise UserError(
            f"`objectives=[{listed[0]}]`: a trade-off takes two metrics or more; for one: `metric={listed[0]}`."
        )
    return tuple((name, direction(name, option="objectives")) for name in listed)


def selection(cfg: DictConfig) -> Selection:
    """Which runs a config names."""
    return Selection(
        sweeps=_several(cfg.sweeps), experiments=_several(cfg.experiments), runs=_several(cfg.runs), filter=cfg.filter
    )


def shipped_business() -> Mapping[str, Any]:
    """The assumptions that we ship, most of which are for the user to fill in."""
    from lantu.config.locations import shipped_conf

    loaded = OmegaConf.to_container(OmegaConf.load(shipped_conf() / "business" / "default.yaml"))
    assert isinstance(loaded, dict)
    return {str(name): value for name, value in loaded.items()}


def import_everything() -> None:
    """Import what a report needs, so that a bench can leave it out."""
    for name in (
        "optuna.importance",
        "sklearn.ensemble",
        "sklearn.inspection",
        "lantu.compare.reading.sql",
        "lantu.compare.report.page",
    ):
        import_module(name)


def _caption(analysis: Any) -> str:
    from lantu.compare.phrases import counted

    groups, runs = len(analysis.table), len(analysis.runs)
    summary = f"{counted(runs, 'run')} of {counted(groups, 'configuration')}, best {analysis.metric} first"
    shown = analysis.comparison.tested and groups > 1
    return f"{summary}; bold: statistically tied with the best" if shown else summary


def _say(decision: Any, cfg: DictConfig) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    console = Console()
    console.print(f"\n[bold]{escape(decision.headline)}[/bold]", highlight=False)
    for each in decision.sentences:
        console.print(Padding(escape(each), (0, 0, 0, 2)), highlight=False)
    for each in decision.caution:
        console.print(Padding(f"[yellow]{escape(each)}[/yellow]", (0, 0, 0, 2)), highlight=False)
    if cfg.report:
        console.print(f"\nreport  {cfg.report}", highlight=False, soft_wrap=True)
    else:
        console.print(
            "\nnext    lantu compare ... report=report.html   what mattered, costs, curves, forecast", highlight=False
        )


def _several(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(map(str, value)) if isinstance(value, ListConfig | list) else (str(value),)
