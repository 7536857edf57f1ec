"""Refuse impossible options of a series data module, and parts of the series without a window. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from lantu.data.series.from_table import AGGREGATES, PERIODS, TRANSFORMS
from lantu.data.series.time_splits import WALKS, Fold
from lantu.data.series.window_scaling import SCALES
from lantu.errors import UserError


def check_options(
    *,
    split: Any,
    transform: str,
    covariate_transform: str,
    every: str | None,
    aggregate: str | None,
    fill: str,
    scale: str,
) -> None:
    """Raise a `UserError` for an option with an impossible value, and for two that contradict each other."""
    _check_choices(
        transform=(transform, TRANSFORMS), covariate_transform=(covariate_transform, TRANSFORMS),
        fill=(fill, ("none", "forward")), scale=(scale, SCALES),
        every=(every, (None, *PERIODS)), aggregate=(aggregate, (None, *AGGREGATES)),
    )  # fmt: skip
    if split in ("time", "random"):
        raise UserError(
            f"`data.split={split}`: series are always cut by time: give shares such as {{val: 0.1, test: 0.2}}, or "
            f"one of {', '.join(WALKS)}."
        )
    if aggregate == "sum" and fill == "forward":
        raise UserError(
            "`data.aggregate=sum data.fill=forward`: a period without rows would repeat the sum of the one before. "
            "Leave `data.fill` out, which leaves out windows that touch it, or put rows of 0 into the file."
        )


def check_windows(
    name: str,
    windows: Mapping[str, Sequence[int]],
    folds: Sequence[Fold],
    *,
    steps: int,
    context: int,
    horizon: int,
    walks: bool,
) -> None:
    """Refuse a fold without a training window, and a validation or test part without any.

    Args:
        name: of the series.
        windows: by part, the windows of each fold.
        steps: of the series.
        walks: whether folds follow each other in time.

    Raises:
        UserError: there is such a fold or part.
    """
    if not all(windows["train"]):
        raise UserError(
            f"{name}: {steps:,} steps leave no window of {context} steps with the {horizon} after it to train on. Take "
            "a smaller `data.context` or `data.horizon`, or fill missing steps: `data.fill=forward`."
        )
    for part in ("val", "test"):
        longest = max(end - begin for begin, end in (fold.part(part) for fold in folds))
        if longest > 0 and not any(windows[part]):
            option = {"val": "data.val_share", "test": "data.refit_every"}[part] if walks else "data.split"
            raise UserError(
                f"`data.horizon={horizon}`: {part} has {longest:,} steps in a row at most and no window whose steps "
                f"are all known and whose {horizon} steps to forecast lie among them. Forecast fewer steps, make the "
                f"part longer (`{option}`), or fill missing steps: `data.fill=forward`."
            )


def _check_choices(**choices: tuple[Any, tuple[Any, ...]]) -> None:
    for name, (value, possible) in choices.items():
        if value not in possible:
            words = ", ".join("null" if each is None else each for each in possible)
            raise UserError(f"`data.{name}={value}`: it is one of {words}.")
