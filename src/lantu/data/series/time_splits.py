"""Split series by time into training, validation and test, once or walking forward. Imports no torch."""

from dataclasses import dataclass

from lantu.errors import UserError

WALKS = ("walk_forward", "expanding")


@dataclass(frozen=True)
class Fold:
    """Steps whose values are to be forecast, as half-open ranges; what a part's forecasts see may lie before it."""

    train: tuple[int, int]
    val: tuple[int, int]
    test: tuple[int, int]

    def part(self, name: str) -> tuple[int, int]:
        return {"train": self.train, "val": self.val, "test": self.test}[name]


def once(first: int, steps: int, *, val: float, test: float, embargo: int, test_from: int | None = None) -> list[Fold]:
    """One fold: the newest steps are the test part, those before them the validation part.

    Args:
        first: the first step that can be forecast.
        steps: of the series.
        val, test: shares of what can be forecast.
        embargo: steps between two parts that belong to none.
        test_from: the first step of the test part, in place of its share.
    """
    usable = steps - first
    end = steps - round(test * usable) if test_from is None else test_from
    middle = end - round(val * (usable if test_from is None else end - first))
    return [_fold(first, middle, end, steps, embargo)]


def walking(
    first: int,
    steps: int,
    *,
    train_steps: int,
    refit_every: int,
    val: float,
    embargo: int,
    expanding: bool,
    test_from: int | None = None,
) -> list[Fold]:
    """Folds that follow each other in time: each trains on the past, and is tested on the `refit_every` steps after.

    Args:
        first: the first step that can be forecast.
        steps: of the series.
        train_steps: steps of the past that a fold learns from, validation included; of the first one if `expanding`.
        refit_every: steps of a test part.
        val: share of those steps that is the validation part: the newest of them.
        embargo: steps between two parts that belong to none.
        expanding: whether a fold learns from the whole past.
        test_from: the first step of the first test part; None: as soon as there are `train_steps` before it.

    Raises:
        UserError: the series are too short.
    """
    begin = train_steps if test_from is None else test_from
    if begin >= steps:
        raise UserError(
            f"`data.train_steps={train_steps}`: the series have {steps:,} steps, so none is left to test on. Train on "
            "fewer steps."
        )
    folds = []
    for start in range(begin, steps, refit_every):
        past = first if expanding else max(first, start - train_steps)
        middle = start - round(val * (start - past))
        folds.append(_fold(past, middle, start, min(start + refit_every, steps), embargo))
    return folds


def _fold(begin: int, middle: int, end: int, steps: int, embargo: int) -> Fold:
    return Fold(
        train=(begin, max(begin, middle - (embargo if middle < steps else 0))),
        val=(middle, max(middle, end - (embargo if end < steps else 0))),
        test=(end, steps),
    )
