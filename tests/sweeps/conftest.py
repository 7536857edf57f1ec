"""Sweeps as a user runs them, in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lantu.cli.main import main
from lantu.sweeps.state.sweep_folder import SweepFolder, sweeps_of
from tests.stores import new_store

SHORT = (
    "model=linear", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1",
    "save_model=false", "test=false", "sweep.compare=false",
)  # fmt: skip
UNDRAWN = "callbacks.figures=null"
"""A trial's pictures take longer than its training."""
Sweep = Callable[..., int]


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """Run `lantu train -m` on a linear model for two steps, in a folder of the test's own; its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANTU_HOME", str(tmp_path))

    def run(*overrides: str, ship: bool = False) -> int:
        given = {each.partition("=")[0] for each in overrides}
        short = [each for each in (*SHORT, UNDRAWN) if each.partition("=")[0] not in given]
        shipping = [] if ship else ["logger.mlflow.ship=false"]
        if ship:
            new_store(tmp_path / "mlruns")
        try:
            return main(["train", "-m", *short, *shipping, *overrides])
        except SystemExit as end:
            return int(end.code or 0)

    return run


@pytest.fixture
def the_sweep(tmp_path: Path) -> Callable[[str], SweepFolder]:
    """A sweep's folder by its name."""
    return lambda name: SweepFolder(sweeps_of(tmp_path / "mlruns") / name)
