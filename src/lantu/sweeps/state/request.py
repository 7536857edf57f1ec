"""Parse a sweep's command: what all trials share, what varies, and the digest that identifies the sweep."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import HydraContext

from lantu.config.explain import readable_hydra_errors
from lantu.config.naming import UNNAMED
from lantu.config.sweeping import values_of
from lantu.errors import UserError

OPERATIONAL = ("sweep", *(each for each in UNNAMED if each != "debug"))
"""Options that say how trials are run and stored. They are not part of a sweep's identity."""


@dataclass(frozen=True)
class Point:
    """One combination of values, as overrides: `("model=cnn", "optimizer.lr=0.01")`."""

    overrides: tuple[str, ...]

    @property
    def key(self) -> str:
        """An identifier of the combination that does not depend on the order of its overrides."""
        return " ".join(sorted(self.overrides))

    @property
    def name(self) -> str:
        """A short readable name: "cnn lr=0.01"."""
        return " ".join(_short(each) for each in self.overrides) or "the only trial"


@dataclass(frozen=True)
class Request:
    """The parsed overrides of a sweep."""

    fixed: tuple[str, ...]
    """Overrides that all trials share, as typed."""
    swept: tuple[Override, ...]
    """Overrides that vary."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of the options that vary, such as `optimizer.lr`."""
        return tuple(each.get_key_element() for each in self.swept)

    def digest(self, kind: str) -> str:
        """Hash what makes trials comparable: the fixed overrides, and which options vary.

        The values are left out, so that adding values to a grid extends the same sweep.
        """
        shared = sorted(each for each in self.fixed if not is_operational(each))
        return hashlib.sha256("\n".join([kind, *shared, "", *sorted(self.keys)]).encode()).hexdigest()[:16]

    def name(self, start: str) -> str:
        """Return a readable name that is also a valid folder name: "digits-model-lr-seed"."""
        words = [start, *(key.rpartition(".")[2].lstrip("+") for key in self.keys)]
        return slug("-".join(words))[:60].strip("-")


def read_request(arguments: list[str], context: HydraContext) -> Request:
    """Parse a command's overrides.

    Raises:
        UserError: an override cannot be parsed.
    """
    with readable_hydra_errors(arguments, "train"):
        overrides = OverridesParser.create(config_loader=context.config_loader).parse_overrides(arguments)
    last = {each.get_key_element().lstrip("+~"): each for each in overrides}  # as in a single run, the last one counts
    overrides = list(last.values())
    return Request(
        fixed=tuple(str(each.input_line) for each in overrides if not each.is_sweep_override()),
        swept=tuple(each for each in overrides if each.is_sweep_override()),
    )


def grid(request: Request) -> list[Point]:
    """Return every combination of the values that vary; the last option varies fastest.

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
        values.append(values_of(each))
    return [Point(combination) for combination in product(*values)]


def without_identity(overrides: Sequence[str]) -> list[str]:
    """Remove the overrides that name a sweep."""
    return [each for each in overrides if not each.startswith(("sweep.name=", "sweep.resume="))]


def is_operational(override: str) -> bool:
    """Return whether an override has no effect on training results."""
    key = override.lstrip("+~").partition("=")[0].partition("@")[0]
    return any(key == each or key.startswith((f"{each}.", f"{each}/")) for each in OPERATIONAL)


def slug(text: str) -> str:
    """Replace the characters that are not allowed in a folder name or tag."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-.") or "sweep"


def _short(override: str) -> str:
    key, _, value = override.lstrip("+~").partition("=")
    key = key.partition("@")[0]
    return value if key in ("model", "data", "experiment") else f"{key.rpartition('.')[2]}={value}"
