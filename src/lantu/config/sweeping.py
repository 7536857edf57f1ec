"""The points of a sweep: what `-m` will run, known before the first job starts."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import cache
from itertools import product

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lantu.config.checking import check
from lantu.config.composing import Composition, compose, config_search
from lantu.config.explain import readable_hydra_errors
from lantu.errors import UserError


def check_sweep(overrides: list[str], *, command: str = "train") -> int:
    """Check a sweep: every value, and every combination of files; returns how many points there are.

    An interval has no finite set of points: its two ends are checked.

    Raises:
        UserError: a point cannot run; the message says which.
    """
    with config_search():
        every = [tuple(point) for point in points(overrides, command=command)]
        composer = Composer(GlobalHydra.instance().config_loader(), lambda point: compose(*point, command=command))
        for point in distinct(every, composer.chooses):
            check(composer(point))
    return len(every)


class Composer:
    """The configs of many points: files are composed once, and values are set in a copy.

    To compose takes Hydra a tenth of a second, to set a value takes a hundredth of that.

    Args:
        loader: knows which overrides choose files.
        compose: makes a point's config from its overrides.
    """

    def __init__(self, loader: ConfigLoader, compose: Callable[[tuple[str, ...]], Composition]) -> None:
        self._parser = OverridesParser.create(config_loader=loader)
        self._groups = set(loader.get_group_options("", results_filter=None))
        self._compose = compose
        self._composed: dict[tuple[str, ...], Composition] = {}

    def chooses(self, override: str) -> bool:
        """Whether an override chooses a file, or adds or removes a key; the others only set a value."""
        key = override.partition("=")[0]
        return key.startswith(("+", "~")) or "/" in key or "@" in key or key in self._groups

    def __call__(self, point: tuple[str, ...]) -> Composition:
        """A point's config.

        Raises:
            UserError: it cannot be composed.
        """
        files = tuple(each for each in point if self.chooses(each))
        if files not in self._composed:
            self._composed[files] = self._compose(files)
        base = self._composed[files]
        cfg = deepcopy(base.cfg)
        try:
            for each in self._parser.parse_overrides([each for each in point if each not in files]):
                OmegaConf.update(cfg, each.key_or_group, each.value(), merge=True)
        except OmegaConfBaseException:
            return self._compose(point)  # says what is wrong with it
        return Composition(cfg, base.choices, [*base.overrides, *(each for each in point if each not in files)])


def distinct(
    points: Sequence[tuple[str, ...]], chooses: Callable[[str], bool], *, after: Sequence[tuple[str, ...]] = ()
) -> list[tuple[str, ...]]:
    """As few of the points as have every value together with every choice of files.

    A grid of a hundred rates and a hundred seeds has ten thousand points, and a hundred things to check.

    Args:
        points: the overrides of each.
        chooses: whether an override chooses a file; asked once for each.
        after: points whose values are left out.
    """
    is_file = cache(chooses)

    def values(point: tuple[str, ...]) -> set[tuple[str, ...]]:
        files = tuple(each for each in point if is_file(each))
        return {(*files, each) for each in point} or {files}

    seen = {value for point in after for value in values(point)}
    kept = []
    for point in points:
        found = values(point)
        if found - seen:
            seen |= found
            kept.append(point)
    return kept


def points(overrides: list[str], *, command: str = "train") -> Iterator[list[str]]:
    """Every combination of the values that sweep overrides name, as plain overrides."""
    dimensions = [values_of(each) for each in parsed(overrides, command)]
    for combination in product(*dimensions):
        yield list(combination)


def parsed(overrides: list[str], command: str = "train") -> list[Override]:
    """Overrides, read.

    Raises:
        UserError: one cannot be read.
    """
    with config_search(), readable_hydra_errors(overrides, command):
        return OverridesParser.create(config_loader=GlobalHydra.instance().config_loader()).parse_overrides(overrides)


def values_of(override: Override) -> list[str]:
    """An override for each of the values that one names; an interval has its two ends.

    Raises:
        UserError: it names none, such as `range(3,1)` or `glob(x*)`.
    """
    if not override.is_sweep_override():
        return [str(override.input_line)]
    key = override.get_key_element()
    if override.is_discrete_sweep():
        found = [f"{key}={value}" for value in override.sweep_string_iterator()]
        if not found:
            raise UserError(f"`{override.input_line}` names no value, so there is nothing to run.")
        return found
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    return [f"{key}={end}" for end in dict.fromkeys((interval.start, interval.end))]
