"""Whether a study that is there already is one of this search: its objectives, and what was tried in it."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from lantu.errors import UserError
from lantu.notices import warn_once
from lantu.sweeps.state.request import Point

if TYPE_CHECKING:
    from optuna import Study

OBJECTIVES = "lantu.objectives"
"""The attribute of a study that says what its values are of."""


def check_study(
    study: "Study", *, objectives: Sequence[str], directions: Sequence[str], searched: Collection[str]
) -> None:
    """Refuse a study whose values are of other objectives, or in which other options were searched.

    Args:
        searched: the options that this search chooses.

    Raises:
        UserError: it is another search's.
    """
    instead = "Name another: `hydra.sweeper.study_name=NAME`, or `sweep.name=NAME` without a storage."
    made_for = study.user_attrs.get(OBJECTIVES)
    if made_for is None:
        study.set_user_attr(OBJECTIVES, list(objectives))
    if (made_for or list(objectives)) != list(objectives):
        raise UserError(
            f"the study `{study.study_name}` holds values of {', '.join(map(str, made_for))}, and "
            f"`sweep.objective` is {', '.join(objectives)}. {instead}"
        )
    if [each.name.lower() for each in study.directions] != list(directions):
        found = ", ".join(each.name.lower() for each in study.directions)
        raise UserError(
            f"the study `{study.study_name}` is to {found}, this search to {', '.join(directions)}. {instead}"
        )
    other = sorted({name for trial in study.get_trials(deepcopy=False) for name in trial.params} - set(searched))
    if other:
        raise UserError(
            f"the study `{study.study_name}` is of another search: it chose {', '.join(other[:5])}, this one chooses "
            f"{', '.join(sorted(searched)[:5])}. {instead}"
        )


def say_outside(outside: Sequence[Point], *, done: int) -> None:
    """Say which earlier trials lie outside of what is searched now: they count, and may be called the best."""
    if outside:
        warn_once(
            f"{len(outside):,} of {done:,} earlier trials lie outside of what is searched now, such as "
            f"`{outside[0].name}`. They count as trials and may be the best; `sweep.name=NAME` begins another sweep"
        )
