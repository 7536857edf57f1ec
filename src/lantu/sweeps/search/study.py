"""A search with Optuna's ask-and-tell interface."""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lantu.errors import UserError
from lantu.sweeps.search.space import Space
from lantu.sweeps.search.study_checks import check_study, say_outside
from lantu.sweeps.state.objective import objective_value
from lantu.sweeps.state.request import Point
from lantu.sweeps.state.sweep_folder import SweepFolder, TrialFolder
from lantu.tracking.database_owner import refuse_tables_of_other

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

SAME_IN_A_ROW = 25  # repeated suggestions in a row after which a small space counts as exhausted


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options of a search, without sampler and pruner."""

    n_trials: int | None
    """Number of trials in the study, including those of other machines; None: until time or budget is used up."""
    n_jobs: int
    """Number of concurrent trials."""
    timeout: float | None
    """Seconds after which no new trial starts."""
    objectives: tuple[str, ...]
    directions: tuple[str, ...]
    """minimize or maximize, one for each objective."""
    storage: str | None
    """A database URI; None: a journal file in the sweep's folder."""
    study_name: str
    warm_start: tuple[str, ...] = ()
    """Earlier sweeps whose finished trials are added to the study at its start."""


class Search:
    """Ask the study for a trial whenever a worker is free, so that each suggestion uses all results so far."""

    def __init__(
        self,
        space: Space,
        folder: SweepFolder,
        options: SearchOptions,
        *,
        sampler: "Callable[[int], BaseSampler]",
        pruner: "BasePruner | None",
    ) -> None:
        """Open the study. `sampler` gets the number of existing trials, so that it does not repeat their draws."""
        self._space, self._folder, self._options = space, folder, options
        self.study = open_study(folder, options, pruner=pruner)
        distributions = {each.key.lstrip("+"): each.distribution() for each in space.all()}
        check_study(self.study, objectives=options.objectives, directions=options.directions, searched=distributions)
        self.study.sampler = sampler(len(self.study.get_trials(False)))
        self._begun = time.monotonic()
        self._exhausted = False
        self._numbers: dict[str, list[int]] = defaultdict(list)
        """The trials of each point, by its key; the folder alone would be read in full for every suggestion."""
        outside = []
        for trial in folder.trials():
            point = trial.point
            self._numbers[point.key].append(trial.number)
            if not _params(point, distributions):
                outside.append(point)
        say_outside(outside, done=sum(map(len, self._numbers.values())))
        self._settled, self._reused = 0, 0
        """How many trials at the start of the study have ended, and how many of those were reused."""
        self._leftover = self._left_by_an_earlier_run()
        if not self.study.trials:
            self._learn_from_earlier_sweeps()

    def planned(self) -> int | None:
        return self._options.n_trials

    def next(self, running: int) -> list[TrialFolder]:
        room = self._options.n_jobs - running
        batch, self._leftover = self._leftover[:room], self._leftover[room:]
        repeats = 0
        while len(batch) < room and not self._is_over() and repeats < SAME_IN_A_ROW:
            trial = self.study.ask()
            point = self._space.suggest(trial)
            twin = self._finished_twin(point)
            if twin is not None:  # the same config gives the same result, so reuse it
                repeats += 1
                trial.set_user_attr("lantu.from", f"{self._folder.name}/{twin.number}")
                self._tell(trial.number, twin)
                continue
            batch.append(self._folder.trial(trial.number).plan(point))
            self._numbers[point.key].append(trial.number)
        return batch

    def tell(self, trial: TrialFolder) -> None:
        self._tell(trial.number, trial)

    def spec(self) -> dict[str, Any]:
        """Return the storage and name of the study, for the pruning callback."""
        return {"storage": self._options.storage, "study_name": self._options.study_name}

    def _tell(self, number: int, trial: TrialFolder) -> None:
        from optuna.trial import TrialState

        state = trial.state()
        values = objective_values(state.values, self._options.objectives)
        outcome = TrialState.COMPLETE if values and state.status == "finished" else TrialState.FAIL
        if state.status == "pruned":
            outcome = TrialState.PRUNED
        try:
            reported = values if outcome == TrialState.COMPLETE else None
            self.study.tell(number, reported, state=outcome, skip_if_finished=True)
        except RuntimeError:  # an exhausted grid sampler stops a loop that is not Optuna's own, which raises
            self._exhausted = True

    def _is_over(self) -> bool:
        options = self._options
        late = options.timeout is not None and time.monotonic() - self._begun > options.timeout
        enough = options.n_trials is not None and self._counted() >= options.n_trials
        return self._exhausted or late or enough

    def _counted(self) -> int:
        """Return the number of trials in the study, without those reused from earlier sweeps or finished trials.

        Trials are only added, so those that have ended are looked at once.
        """
        trials = self.study.get_trials(False)
        while self._settled < len(trials) and trials[self._settled].state.is_finished():
            self._reused += _is_reused(trials[self._settled])
            self._settled += 1
        return len(trials) - self._reused - sum(map(_is_reused, trials[self._settled :]))

    def _finished_twin(self, point: Point) -> TrialFolder | None:
        twins = map(self._folder.trial, self._numbers.get(point.key, ()))
        return next((trial for trial in twins if trial.state().status == "finished"), None)

    def _left_by_an_earlier_run(self) -> list[TrialFolder]:
        """Return trials of this sweep that started and did not end, because their process was killed."""
        from optuna.trial import TrialState

        running = {each.number for each in self.study.get_trials(False, states=(TrialState.RUNNING,))}
        left = []
        for trial in self._folder.trials():
            if trial.number not in running:
                continue
            if trial.state().status == "planned":
                left.append(trial)
            else:
                self.tell(trial)
                running.discard(trial.number)
        return left

    def _learn_from_earlier_sweeps(self) -> None:
        from optuna import create_trial

        distributions = {each.key.lstrip("+"): each.distribution() for each in self._space.all()}
        for name in self._options.warm_start:
            earlier = SweepFolder(self._folder.path.parent / name)
            if not earlier.exists():
                known = ", ".join(sorted(each.parent.name for each in earlier.path.parent.glob("*/sweep.json")))
                raise UserError(
                    f"`hydra.sweeper.warm_start`: there is no sweep `{name}`. There are: {known or 'none'}."
                )
            for trial in earlier.trials():
                state = trial.state()
                values = objective_values(state.values, self._options.objectives)
                params = _params(trial.point, distributions)
                if state.status == "finished" and values and params:
                    chosen = {key: distributions[key] for key in params}
                    attrs = {"lantu.from": f"{name}/{trial.number}"}
                    self.study.add_trial(
                        create_trial(params=params, distributions=chosen, values=values, user_attrs=attrs)
                    )


def _is_reused(trial: "FrozenTrial") -> bool:
    return "lantu.from" in trial.user_attrs or "lantu.from" in trial.system_attrs


def open_study(
    folder: SweepFolder,
    options: SearchOptions,
    *,
    pruner: "BasePruner | None" = None,
) -> "Study":
    """Open the sweep's study, or create it.

    Raises:
        UserError: the storage cannot be opened.
    """
    import optuna

    quiet()
    try:
        if options.storage and "://" in options.storage:
            refuse_tables_of_other(options.storage, wanted_by="Optuna", option="hydra.sweeper.storage")
        return optuna.create_study(
            study_name=options.study_name,
            storage=open_storage(options.storage or journal_of(folder)),
            pruner=pruner,
            directions=list(options.directions),
            load_if_exists=True,
        )
    except UserError:
        raise
    except Exception as error:
        reason = error.__cause__ or error  # what Optuna says of a commit is not what the database said
        first = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
        raise UserError(f"`hydra.sweeper.storage={options.storage}` cannot be opened: {first}.") from error


def open_storage(uri: str) -> "BaseStorage":
    """Open a database by its URI, or a journal file by its path."""
    from optuna.storages import get_storage
    from optuna.storages.journal import JournalFileBackend

    from lantu.sweeps.search.study_journal import StudyJournal

    return get_storage(uri) if "://" in uri else StudyJournal(JournalFileBackend(uri))


def journal_of(folder: SweepFolder) -> str:
    """Return the path of the journal file of a sweep's study; `optuna-dashboard` can open it."""
    folder.path.mkdir(parents=True, exist_ok=True)
    return str(folder.path / "study.log")


def quiet() -> None:
    """Turn off Optuna's log of every result: the sweep shows its own."""
    import warnings

    import optuna
    from optuna.exceptions import ExperimentalWarning

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)


def objective_values(values: dict[str, float], objectives: Sequence[str]) -> list[float] | None:
    """Return the values of the objectives, in order; None if one is missing or not finite."""
    found = [objective_value(values, name) for name in objectives]
    numbers = [each for each in found if each is not None and math.isfinite(each)]
    return numbers if len(numbers) == len(found) else None


def _params(point: Point, distributions: dict[str, Any]) -> dict[str, Any]:
    """Return a point's values as parameters of a study; empty if a value lies outside the space."""
    found: dict[str, Any] = {}
    for override in point.overrides:
        key, _, text = override.lstrip("+").partition("=")
        among = distributions.get(key)
        if among is None:
            continue
        if hasattr(among, "choices"):
            match = [each for each in among.choices if str(each) == text]
        else:
            try:
                match = [float(text)]
            except ValueError:
                return {}
        if not match or not among._contains(among.to_internal_repr(match[0])):
            return {}
        found[key] = match[0]
    return found
