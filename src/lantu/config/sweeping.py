"""The points of a sweep: what `-m` will run, known before the first job starts."""

from collections.abc import Iterator, Sequence
from itertools import product

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from lantu.config.checking import check
from lantu.config.composing import compose, config_search
from lantu.config.explain import explained


def check_sweep(overrides: list[str], *, command: str = "train") -> int:
    """Check a sweep: every value, and every combination of files; returns how many points there are.

    An interval has no finite set of points: its two ends are checked.

    Raises:
        UserError: a point cannot run; the message says which.
    """
    with config_search():
        every = [tuple(point) for point in points(overrides, command=command)]
        for point in distinct(every):
            check(compose(*point, command=command))
    return len(every)


def distinct(points: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """As few of the points as have every value together with every choice of files.

    A grid of a hundred rates and a hundred seeds has ten thousand points, and two hundred things to check.
    """
    seen: set[tuple[str, ...]] = set()
    kept = []
    for point in points:
        files = tuple(each for each in point if "." not in each.partition("=")[0])
        found = {(*files, each) for each in point} or {files}
        if found - seen:
            seen |= found
            kept.append(point)
    return kept


def points(overrides: list[str], *, command: str = "train") -> Iterator[list[str]]:
    """Every combination of the values that sweep overrides name, as plain overrides."""
    dimensions = [_values(each) for each in parsed(overrides, command)]
    for combination in product(*dimensions):
        yield list(combination)


def parsed(overrides: list[str], command: str = "train") -> list[Override]:
    """Overrides, read.

    Raises:
        UserError: one cannot be read.
    """
    with config_search(), explained(overrides, command):
        return OverridesParser.create(config_loader=GlobalHydra.instance().config_loader()).parse_overrides(overrides)


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key = override.get_key_element()
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    return [f"{key}={end}" for end in dict.fromkeys((interval.start, interval.end))]
