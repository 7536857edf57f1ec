"""Optuna's journal file, without going through all trials of a study for each new one."""

import copy
from collections import defaultdict
from collections.abc import Container
from typing import Any

from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState


class StudyJournal(JournalStorage):
    """A `JournalStorage` that remembers which trials have ended: these never change again.

    Optuna asks before each trial whether one is waiting, and looks at every trial of the study for it. With 10,000
    trials that takes longer than all else that a sweep does for a trial.
    """

    def __init__(self, backend: Any) -> None:
        super().__init__(backend)
        self._ended: dict[int, list[FrozenTrial]] = defaultdict(list)
        """The trials at the start of each study that have all ended."""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials of a study in their order, or those in one of some states."""
        with self._thread_lock:
            self._sync_with_backend()
            replayed = self._replay_result
            if study_id not in replayed._studies:
                return replayed.get_all_trials(study_id, states)  # raises Optuna's error
            ended, numbers = self._ended[study_id], replayed._study_id_to_trial_ids[study_id]
            for number in numbers[len(ended) :]:
                if not replayed._trials[number].state.is_finished():
                    break
                ended.append(replayed._trials[number])
            found = [replayed._trials[number] for number in numbers[len(ended) :]]
            if states is None or any(state in states for state in TrialState if state.is_finished()):
                found = ended + found
            if states is not None:
                found = [trial for trial in found if trial.state in states]
            return copy.deepcopy(found) if deepcopy else found
