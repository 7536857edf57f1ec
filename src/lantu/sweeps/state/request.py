"""What a sweep's command asks for: what every trial shares, what varies, and so which sweep is meant."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext

from lantu.config.explain import explained
from lantu.config.naming import UNNAMED
from lantu.errors import UserError

OPERATIONAL = ("sweep", *(each for each in UNNAMED if each != "debug"))
"""Options that say how trials are run and kept, with those below them: they do not make it another sweep."""


@dataclass(frozen=True)
class Point:
    """One combination of values, as overrides: `("model=cnn", "optimizer.lr=0.01")`."""

    overrides: tuple[str, ...]

    @property
    def key(self) -> str:
        """The same for the same combination, in whatever order it was typed."""
        return " ".join(sorted(self.overrides))

    @property
    def name(self) -> str:
        """What varies, for people: "cnn lr=0.01"."""
        return " ".join(_short(each) for each in self.overrides) or "the only trial"


@dataclass(frozen=True)
class Request:
    """A sweep's overrides, read."""

    fixed: tuple[str, ...]
    """What every trial shares, as typed."""
    swept: tuple[Override, ...]
    """What varies."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of what varies, such as `optimizer.lr`."""
        return tuple(each.get_key_element() for each in self.swept)

    def digest(self, kind: str) -> str:
        """Names the sweep by what makes its trials comparable: the fixed part, and which options vary.

        Values are not in it, so that a grid with more of them is the same sweep, enlarged.
        """
        shared = sorted(each for each in self.fixed if not is_operational(each))
        return hashlib.sha256("\n".join([kind, *shared, "", *sorted(self.keys)]).encode()).hexdigest()[:16]

    def name(self, start: str) -> str:
        """A name that is a folder's as well: "digits-model-lr-seed"."""
        words = [start, *(key.rpartition(".")[2].lstrip("+") for key in self.keys)]
        return slug("-".join(words))[:60].strip("-")


def read_request(arguments: list[str], context: HydraContext) -> Request:
    """Take a command's overrides apart.

    Raises:
        UserError: one cannot be read.
    """
    with explained(arguments, "train"):
        overrides = OverridesParser.create(config_loader=context.config_loader).parse_overrides(arguments)
    last = {each.get_key_element().lstrip("+~"): each for each in overrides}  # as for a single run, the last one counts
    overrides = list(last.values())
    return Request(
        fixed=tuple(str(each.input_line) for each in overrides if not each.is_sweep_override()),
        swept=tuple(each for each in overrides if each.is_sweep_override()),
    )


def grid(request: Request) -> list[Point]:
    """Every combination of the values that vary, the last one fastest.

    Raises:
        UserError: an interval has no finite set of values.
    """
    values: list[list[str]] = []
    for each in request.swept:
        if not each.is_discrete_sweep():
            raise UserError(
                f"`{each.input_line}` has no end of values to try. Name some (`{each.get_key_element()}=0.1,0.01`), "
                f"or let a search choose: `hydra/sweeper=optuna`."
            )
        values.append([f"{each.get_key_element()}={value}" for value in each.sweep_string_iterator()])
    return [Point(combination) for combination in product(*values)]


def without_identity(overrides: Sequence[str]) -> list[str]:
    """Overrides without those that say which sweep is meant."""
    return [each for each in overrides if not each.startswith(("sweep.name=", "sweep.resume="))]


def is_operational(override: str) -> bool:
    """Whether an override leaves what is learned as it is."""
    key = override.lstrip("+~").partition("=")[0].partition("@")[0]
    return any(key == each or key.startswith((f"{each}.", f"{each}/")) for each in OPERATIONAL)


def slug(text: str) -> str:
    """A text with nothing in it that a folder's name or a tag would mind."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.") or "sweep"


def _short(override: str) -> str:
    key, _, value = override.lstrip("+~").partition("=")
    key = key.partition("@")[0]
    return value if key in ("model", "data", "experiment") else f"{key.rpartition('.')[2]}={value}"
