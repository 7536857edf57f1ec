"""Populations and ASHA by a real Ray, as a user starts them."""

import os
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from lantu.sweeps.state.sweep_folder import SweepFolder, sweeps_of
from tests.sweeps.conftest import Sweep
from tests.sweeps.test_launchers import start, trials_in_mlflow

pytest.importorskip("ray", reason="needs Ray, which is not installed")
pytestmark = pytest.mark.xdist_group("ray")
RAY = ("hydra/sweeper=ray_tune", "sweep.name=mine")
RATE = "optimizer.lr=tag(log,interval(1e-4,1e-1))"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_population_goes_on_after_ctrl_c_and_the_weak_copy_the_strong(tmp_path: Path) -> None:
    rates = "optimizer.lr=tag(log,interval(1e-6,1e-1))"
    command = (*RAY, rates, "hydra.sweeper.n_trials=3", "hydra.sweeper.num_cpus=0.5", "trainer.max_epochs=12")
    folder = SweepFolder(sweeps_of(tmp_path / "mlruns") / "mine")
    process = start(tmp_path, *command)
    deadline = time.monotonic() + 240
    while not any(folder.path.glob("tune/study/*/checkpoint_*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    said = process.communicate(timeout=120)[0]
    assert process.returncode not in (0, 2), said
    assert "goes on from here" in said
    assert "Traceback" not in said, said
    process = start(tmp_path, *command)
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    assert Counter(trial.state().status for trial in folder.trials()) == {"finished": 3}
    assert sorted(trials_in_mlflow(tmp_path).values()) == [["FINISHED"]] * 3
    printed = [(trial.path / "output.txt").read_text() for trial in folder.trials()]
    rates_of = [set(re.findall(r"^lr=(\S+):", each, re.MULTILINE)) for each in printed]
    assert any(len(each) > 1 for each in rates_of), rates_of  # some went on with another trial's settings, varied


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_asha_ends_hopeless_trials_early(tmp_path: Path) -> None:
    asha = ("hydra/sweeper/scheduler=asha", "hydra.sweeper.scheduler.reduction_factor=2")
    # every trial but the first is worse than half of those before it as often as not: eight are all spared once in 128
    rates = "optimizer.lr=tag(log,interval(1e-9,1e-1))"
    process = start(tmp_path, *RAY, *asha, rates, "hydra.sweeper.n_trials=8", "trainer.max_epochs=6")
    said = process.communicate(timeout=600)[0]
    assert process.returncode == 0, said
    folder = SweepFolder(sweeps_of(tmp_path / "mlruns") / "mine")
    ended = Counter(trial.state().status for trial in folder.trials())
    assert ended["pruned"], said
    assert ended["finished"]
    assert ended["pruned"] + ended["finished"] == 8
    assert all(status == "FINISHED" for each in trials_in_mlflow(tmp_path).values() for status in each)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("seed=1",), "a search needs something to choose"),
        (("model=choice(linear,mlp)",), "`model` cannot be varied while a model trains"),
        ((RATE, "hydra.sweeper.scheduler.quantile_fraction=2"), "cannot be made as configured"),
        ((RATE, "hydra.sweeper.num_gpus=64"), "a trial would wait for ever"),
        ((RATE, "hydra.sweeper.address=127.0.0.1:1"), "no Ray cluster could be joined there"),
    ],
)
@pytest.mark.slow
def test_a_mistake_is_a_sentence_and_leaves_no_trial(
    overrides: tuple[str, ...], said: str, sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(*RAY, *overrides) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.rglob("trial.json"))
