"""The `compare` command: read, compare, show."""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig

from lantu.compare.runs import Selection
from lantu.errors import UserError


def job(cfg: DictConfig) -> None:
    """Compare the runs that a config names, print the table and write what was asked for."""
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
    from lantu.compare import table as tables
    from lantu.compare.groups import group
    from lantu.compare.runs import direction, open_reader, read
    from lantu.compare.statistics import compare
    from lantu.tracking.store import embedded_uri

    reader = open_reader(cfg.tracking_uri or embedded_uri(cfg.paths.store))
    runs = read(reader, selection(cfg), metric=cfg.metric, mode=cfg.mode)
    groups = group(runs, by=cfg.group_by, ignore=cfg.ignore)
    mode = direction(cfg.metric, cfg.mode)
    options = cfg.statistics
    comparison = compare(
        runs.score, groups.of_run, groups.seed, mode=mode, level=options.level, pooling=options.pooling
    )
    test = cfg.metric.replace("val/", "test/", 1) if cfg.test_metric == "auto" else cfg.test_metric
    full = tables.summary(runs, groups, comparison, metric=cfg.metric, test=test)
    arranged = tables.arrange(full, sort=cfg.sort, columns=cfg.columns, top=cfg.top)
    tables.show(arranged if cfg.top else arranged.head(30), caption=f"{len(runs)} runs in {len(full)} groups")
    if cfg.table:
        tables.write(arranged, Path(cfg.table))


def selection(cfg: DictConfig) -> Selection:
    """Which runs a config names."""
    return Selection(
        sweeps=_several(cfg.sweep), experiments=_several(cfg.experiment), runs=_several(cfg.runs), filter=cfg.filter
    )


def _several(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return tuple(map(str, value)) if isinstance(value, ListConfig | list) else (str(value),)
