"""`experiment=automl` on data as a user brings them."""

import pytest

from tests.sweeps.conftest import Sweep


@pytest.mark.slow
@pytest.mark.parametrize("data", ["image_folder", "text_table"])
def test_a_search_ends_with_a_registered_model_beside_its_baselines(
    data: str, own_data: dict[str, list[str]], sweep: Sweep, capfd: pytest.CaptureFixture[str]
) -> None:
    short = ("hydra.sweeper.n_trials=2", "trainer.max_epochs=2", "save_model=true", "test=true", "sweep.compare=true")
    assert sweep("experiment=automl", f"data={data}", *own_data[data], *short, ship=True) == 0
    said = capfd.readouterr().out
    assert "2 finished" in said
    assert "trivial: the commonest class" in said
    assert "classical: logistic regression" in said
    assert "registered  automl, version 1" in said
