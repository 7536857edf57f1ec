"""A figure is written as matplotlib itself would, though it is drawn once."""

import io
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import pytest
from PIL import Image

from lantu.loggers import log_figure
from lantu.tasks.plots import learning_curve, sheet


def _figures() -> list:
    curve = learning_curve({"train/loss": [(1, 2.0), (2, 1.0)], "val/loss": [(2, 1.5)]})
    fitted, axes = sheet("Laid out around its labels")
    axes.set(xlabel="step", ylabel="a long label")
    return [curve, fitted]


@pytest.fixture
def trainer(tmp_path: Path) -> SimpleNamespace:
    return SimpleNamespace(default_root_dir=tmp_path, loggers=[], is_global_zero=True)


@pytest.mark.parametrize("number", [0, 1])
def test_a_figure_is_written_byte_for_byte_as_savefig_does(number: int, trainer: SimpleNamespace) -> None:
    expected = io.BytesIO()
    _figures()[number].savefig(expected)
    assert log_figure(trainer, _figures()[number], "one").read_bytes() == expected.getvalue()


def test_the_users_own_way_of_saving_figures_is_followed(trainer: SimpleNamespace) -> None:
    with matplotlib.rc_context({"savefig.dpi": 30}):
        path = log_figure(trainer, _figures()[0], "small")
    assert Image.open(path).size == (180, 120)


def test_a_learning_curve_shows_nothing_of_the_run_before(trainer: SimpleNamespace) -> None:
    steep = {"train/loss": [(step, 10.0**-step) for step in range(60)]}  # on a logarithmic axis, without markers
    few = {"train/loss": [(1, 2.0), (2, 1.0)], "val/loss": [(2, 1.5)]}
    drawn = [log_figure(trainer, learning_curve(each), "one").read_bytes() for each in (few, steep, few)]
    assert drawn[0] == drawn[2] != drawn[1]
