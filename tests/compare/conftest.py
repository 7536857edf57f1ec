"""A store with one sweep under a parent run."""

from pathlib import Path

import pytest

from tests.compare.made import Made, grid, uri, write


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tracking URI of a store: the sweep `lr_width` under a parent, one failed trial, and a run beside it."""
    folder = tmp_path_factory.mktemp("compare")
    tracking_uri = uri(folder)
    (parent,) = write(tracking_uri, [Made("lr_width", {"seed": 0})])
    trials = grid()
    for each in trials:
        each.parent = parent
    failed = Made(
        "mlp digits diverged",
        {"seed": 0, "optimizer.lr": 1.0, "model.width": 32, "choices.model": "mlp"},
        curves={"val/loss": [float("nan")] * 3},
        tags={"lantu.sweep": "lr_width"},
        status="FAILED",
        parent=parent,
    )
    write(tracking_uri, [*trials, failed])
    write(tracking_uri, [Made("alone", {"seed": 0}, curves={"val/loss": [1.0, 0.5, 0.7]})], experiment="other")
    return tracking_uri


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place for what a test writes."""
    return tmp_path
