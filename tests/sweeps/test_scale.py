"""What a sweep does beside its trials does not grow with their number."""

import builtins
import os
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from lantu.sweeps import progress, rounds
from lantu.sweeps.pools.pool import Ended
from lantu.sweeps.state.sweep_folder import SweepFolder
from lantu.sweeps.trial import RunTrial
from tests.sweeps.conftest import Sweep

WORKERS = 64
GRID = ("seed=range({tens})", "optimizer.weight_decay=0,1e-3,2e-3,3e-3,4e-3,5e-3,6e-3,7e-3,8e-3,9e-3")
SEARCH = (
    "hydra/sweeper=optuna", "hydra/sweeper/sampler=random", "hydra.sweeper.n_trials={trials}",
    f"hydra.sweeper.n_jobs={WORKERS}", "optimizer.lr=tag(log,interval(1e-4,1e-1))",
)  # fmt: skip


class InThisProcess:
    """A pool whose workers take turns in this process; it notes how often files were opened before each trial."""

    shares_fate = False

    def __init__(self, run, opened):
        self._run, self._opened, self._waiting = run, opened, deque()
        self.opened_at = []

    def submit(self, jobs):
        self._waiting += [job.number for job in jobs]

    def wait(self):
        self.opened_at.append(self._opened())
        number = self._waiting.popleft()
        self._run(OmegaConf.create({"sweep": {"trial": number, "budget": {}}}))
        return [Ended(number)]

    def close(self):
        """Nothing to release."""


@pytest.mark.parametrize("kind", [GRID, pytest.param(SEARCH, marks=pytest.mark.slow)], ids=["grid", "search"])
def test_a_trial_among_three_hundred_reads_as_little_as_one_of_the_first(
    kind: tuple[str, ...], sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = 0
    open_file = builtins.open

    def counting(*words, **options):
        nonlocal opened
        opened += 1
        return open_file(*words, **options)

    def trained(self, cfg, sweep, trial):
        return SimpleNamespace(metrics={"val/loss_best": float(trial.number % 7)}, cost={}, run_id=None)

    pools = []

    def open_pool(launcher):
        folder = next((tmp_path / "mlruns" / "runs" / "sweeps").iterdir())
        pools.append(InThisProcess(RunTrial(str(folder), "here"), lambda: opened))
        return pools[-1]

    monkeypatch.setattr("io.open", counting)
    monkeypatch.setattr(RunTrial, "_train", trained)
    monkeypatch.setattr(rounds, "open_pool", open_pool)
    monkeypatch.setattr(progress, "EVERY", 1000)  # looks at the sweep by the clock, which no count can tell
    words = [each.format(tens=30, trials=300) for each in kind]
    assert sweep(*words, "logger=none", ship=True) == 0
    at = pools[-1].opened_at
    assert len(at) == 300
    early, late = at[70] - at[30], at[230] - at[190]  # later ones find nothing more to start
    assert early > 0
    assert late <= 1.2 * early
    folder = SweepFolder(next((tmp_path / "mlruns" / "runs" / "sweeps").iterdir()))
    assert len(os.listdir(folder.path / "trials")) == 300
