"""Convert Hydra's sweep overrides to Optuna distributions, some of them conditional."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from hydra.types import HydraContext

from lantu.config.explain import readable_hydra_errors
from lantu.errors import UserError
from lantu.sweeps.state.request import Point

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial


@dataclass(frozen=True)
class Dimension:
    """One option that a search chooses a value for."""

    key: str
    override: Override

    def distribution(self) -> "BaseDistribution":
        """Return the values as an Optuna distribution.

        `choice(a,b)` is categorical, `interval(a,b)` uniform, `range(a,b,step)` discrete. `tag(log,...)` uses a
        logarithmic scale, `tag(int,...)` integers.

        Raises:
            UserError: a logarithmic scale with a lower bound of 0 or less, or an unknown tag.
        """
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        value = self.override.value()
        if not isinstance(value, IntervalSweep | RangeSweep):
            return CategoricalDistribution(list(self.override.sweep_iterator(transformer=Transformer.encode)))
        log = self._is_log(value.tags)
        if isinstance(value, RangeSweep):
            assert value.start is not None
            assert value.stop is not None
            # Hydra excludes the stop of a range, Optuna includes it
            steps = math.ceil((value.stop - value.start) / value.step - 1e-9) - 1
            last = value.start + steps * value.step
            if all(isinstance(each, int) for each in (value.start, value.stop, value.step)):
                return IntDistribution(int(value.start), int(last), log=log, step=int(value.step))
            return FloatDistribution(value.start, last, log=log, step=None if log else value.step)
        low, high = float(value.start or 0.0), float(value.end or 0.0)
        if "int" in value.tags:
            return IntDistribution(int(low), int(high), log=log)
        return FloatDistribution(low, high, log=log)

    def _is_log(self, tags: set[str]) -> bool:
        unknown = tags - {"log", "int"}
        if unknown:
            raise UserError(f"`{self.override.input_line}`: there is no tag `{min(unknown)}`. There are: log, int.")
        value: Any = self.override.value()
        if "log" in tags and not value.start > 0:
            raise UserError(f"`{self.override.input_line}`: a logarithmic scale begins above zero.")
        return "log" in tags


@dataclass(frozen=True)
class Space:
    """Unconditional dimensions, and those that apply when another dimension has a certain value."""

    dimensions: tuple[Dimension, ...]
    branches: tuple[tuple[str, "Space"], ...] = ()
    """Each with the override that activates it, such as `model=lstm`."""

    def suggest(self, trial: "Trial") -> Point:
        """Draw a point for an Optuna trial."""
        return Point(tuple(self._suggest(trial)))

    def _suggest(self, trial: "Trial") -> list[str]:
        chosen = [f"{each.key}={spelled(_choose(trial, each))}" for each in self.dimensions]
        for condition, space in self.branches:
            if condition in chosen:
                chosen += space._suggest(trial)
        return chosen

    def all(self) -> list[Dimension]:
        """Return every dimension, including those of the branches."""
        return [*self.dimensions, *(each for _, branch in self.branches for each in branch.all())]

    def examples(self) -> list[Point]:
        """Return points that together contain every value of each choice and both bounds of each other dimension."""
        first = [f"{each.key}={_ends(each)[0]}" for each in self.dimensions]
        found = [first]
        for place, each in enumerate(self.dimensions):
            found += [[*first[:place], f"{each.key}={value}", *first[place + 1 :]] for value in _ends(each)[1:]]
        for condition, branch in self.branches:
            opened = [each if _key(each) != _key(condition) else condition for each in first]
            found += [[*opened, *example.overrides] for example in branch.examples()]
        return [Point(tuple(each)) for each in found]


def read_space(overrides: tuple[Override, ...], params: Mapping[str, Any], context: HydraContext) -> Space:
    """Read the search space from the command line and a config's `params`; the command line takes precedence.

    A key of `params` with an `=` is a condition. Its value holds the dimensions that it activates:

        model: choice(mlp, lstm)
        model=lstm: {model.layers: "range(1, 4)"}
    """
    typed = {each.get_key_element().lstrip("+"): each for each in overrides}
    dimensions = [Dimension(each.get_key_element(), each) for each in overrides]
    branches = []
    for key, value in params.items():
        if "=" in key:
            if not isinstance(value, Mapping):
                raise UserError(f"`hydra.sweeper.params`: under the condition `{key}` come the options that it opens.")
            branches.append((key, read_space((), value, context)))
        elif key.lstrip("+") not in typed:
            dimensions.append(Dimension(key, _parsed(key, value, context)))
    return Space(tuple(dimensions), tuple(branches))


def _parsed(key: str, value: Any, context: HydraContext) -> Override:
    line = f"{key}={value}"
    with readable_hydra_errors([line], "train"):
        (override,) = OverridesParser.create(config_loader=context.config_loader).parse_overrides([line])
    if not override.is_sweep_override():
        raise UserError(
            f"`hydra.sweeper.params.{key}={value}` leaves nothing to choose. A dimension is `choice(a, b)`, "
            f"`range(1, 5)` or `interval(0, 1)`, on a logarithmic scale `tag(log, interval(1e-4, 1e-1))`."
        )
    return override


def _choose(trial: "Trial", dimension: Dimension) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    name, among = dimension.key.lstrip("+"), dimension.distribution()
    if isinstance(among, CategoricalDistribution):
        return trial.suggest_categorical(name, among.choices)
    if isinstance(among, IntDistribution):
        return trial.suggest_int(name, among.low, among.high, log=among.log, step=among.step)
    assert isinstance(among, FloatDistribution)
    return trial.suggest_float(name, among.low, among.high, log=among.log, step=among.step)


def spelled(value: Any) -> str:
    """Format a value as in an override."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _ends(dimension: Dimension) -> list[Any]:
    distribution: Any = dimension.distribution()
    if hasattr(distribution, "choices"):
        return [spelled(each) for each in distribution.choices]
    return [spelled(distribution.low), spelled(distribution.high)]


def _key(override: str) -> str:
    return override.partition("=")[0]
