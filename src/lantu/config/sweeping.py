"""The points of a sweep: what `-m` will run, known before the first job starts."""

from collections.abc import Iterator
from itertools import product

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from lantu.config.checking import check
from lantu.config.composing import compose, config_search
from lantu.config.explain import explained


def check_sweep(overrides: list[str], *, command: str = "train") -> int:
    """Compose and check every point of a sweep; returns how many there are.

    An interval has no finite set of points: its two ends are checked.

    Raises:
        UserError: a point cannot run; the message says which.
    """
    count = 0
    with config_search():
        for point in points(overrides, command=command):
            check(compose(*point, command=command))
            count += 1
    return count


def points(overrides: list[str], *, command: str = "train") -> Iterator[list[str]]:
    """Every combination of the values that sweep overrides name, as plain overrides."""
    with config_search(), explained(overrides, command):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        dimensions = [_values(each) for each in parser.parse_overrides(overrides)]
    for combination in product(*dimensions):
        yield list(combination)


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key = override.get_key_element()
    if override.is_discrete_sweep():
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    return [f"{key}={end}" for end in dict.fromkeys((interval.start, interval.end))]
