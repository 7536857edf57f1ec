"""What `lantu plan` was asked: its own options, and the overrides of the run that it plans."""

from dataclasses import dataclass

from lantu.errors import UserError

NUMBERS = ("tokens", "context", "vocab_size", "days", "utilisation", "sweep")
OWN_OPTIONS = ("hardware", "json", "runs", *NUMBERS)
CHOSEN = ("trainer", "trainer.devices", "trainer.num_nodes", "trainer.precision", "activation_checkpointing")
"""The options of a run that a plan chooses."""
_TRIALS = "hydra.sweeper.n_trials="
_ALIASES = {"data.tokens": "tokens", "model.preset": "preset", "data.context": "context"}
"""Names under which some options are looked for."""


@dataclass(frozen=True)
class PlanRequest:
    """A parsed command line."""

    typed: tuple[str, ...]
    """Its arguments, without `-m`."""
    overrides: tuple[str, ...]
    """Those of the run to plan."""
    options: dict[str, str]
    """Those of the command itself."""
    numbers: dict[str, float]
    """The ones of `options` that are numbers."""
    multirun: bool

    @classmethod
    def parse(cls, argv: list[str]) -> "PlanRequest":
        """Parse and check a command line.

        Raises:
            UserError: a number is impossible, or two arguments exclude each other.
        """
        multirun = any(each in ("-m", "--multirun") for each in argv)
        typed = [_without_alias(each) for each in argv if each not in ("-m", "--multirun")]
        options = {key: value for key, _, value in (each.partition("=") for each in typed) if key in OWN_OPTIONS}
        overrides = [each for each in typed if each.partition("=")[0] not in OWN_OPTIONS]
        if multirun and "json" in options:
            raise UserError("`json=` keeps the figures of one plan, and `-m` plans a sweep: leave one of them out.")
        trials = [each.removeprefix(_TRIALS) for each in overrides if each.startswith(_TRIALS)]
        if trials:
            options.setdefault("sweep", trials[-1])
        numbers = {name: _number(name, options[name]) for name in NUMBERS if name in options}
        if "tokens" in numbers:
            if named := [each for each in overrides if each.startswith("data=")]:
                raise UserError(f"`tokens=` plans without data, and `{named[0]}` names some: leave one of them out.")
            overrides = ["data=text_files", "data.path=.", *overrides]  # never read
        return cls(tuple(typed), tuple(overrides), options, numbers, multirun)


def _without_alias(argument: str) -> str:
    name, equals, value = argument.partition("=")
    return f"{_ALIASES.get(name, name)}{equals}{value}"


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"`{name}={text}` must be a number, such as 2e9.") from None
    if name == "sweep" and value % 1:
        raise UserError(f"`sweep={text}` must be a whole number of runs.")
    if not 0 < value < float("inf") or (name == "utilisation" and value > 1):
        raise UserError(f"`{name}={text}` must be above 0{', at most 1' if name == 'utilisation' else ''}.")
    return value
