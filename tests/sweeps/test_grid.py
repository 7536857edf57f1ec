"""A grid from the command line: planned, run, resumed, enlarged, refused."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lantu.sweeps.state.sweep_folder import SweepFolder
from tests.sweeps.conftest import Sweep

Find = Callable[[str], SweepFolder]


def statuses(folder: SweepFolder) -> Counter[str]:
    return Counter(trial.state().status for trial in folder.trials())


def test_a_sweep_is_a_parent_run_with_its_trials_as_children(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep("optimizer.lr=0.01,0.1", "seed=0,1", "sweep.name=mine", ship=True) == 0
    client = MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == "mine"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert sorted(run.info.run_name for run in children) == [
        *("lr=0.01 seed=0", "lr=0.01 seed=1", "lr=0.1 seed=0", "lr=0.1 seed=1"),
    ]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {run.data.tags["lantu.sweep"] for run in children} == {"mine"}
    points = {(run.data.params["optimizer.lr"], run.data.params["seed"]) for run in children}
    assert points == {("0.1", "0"), ("0.1", "1"), ("0.01", "0"), ("0.01", "1")}
    assert len({run.data.tags["lantu.run_dir"] for run in children}) == 4
    assert parent.data.metrics["sweep/finished"] == 4
    spent = sum(run.data.metrics["cost/usd"] for run in children)
    assert parent.data.metrics["cost/usd"] == pytest.approx(spent)


def test_the_same_command_again_repeats_nothing_and_an_enlarged_grid_adds_its_points(
    sweep: Sweep, the_sweep: Find
) -> None:
    assert sweep("seed=0,1") == 0
    folder = the_sweep("digits-seed")
    before = {trial.name: trial.state() for trial in folder.trials()}
    assert sweep("seed=0,1") == 0
    assert {trial.name: trial.state() for trial in folder.trials()} == before
    assert sweep("seed=1,2,0") == 0
    after = {trial.name: trial.state() for trial in folder.trials()}
    assert set(after) == {"seed=0", "seed=1", "seed=2"}
    assert {name: after[name] for name in before} == before
    assert statuses(folder) == {"finished": 3}


FRAGILE = """
from lantu.models import MLP


class Fragile(MLP):
    def __init__(self, features, outputs, *, hidden):
        super().__init__(features, outputs, hidden=hidden)
        if hidden[0] in (3, 4):
            raise RuntimeError("Trying to create tensor with negative dimension")
"""
FRAGILE_CONFIG = """# Fails for two sizes.
_target_: fragile.Fragile
features: ${spec.features}
outputs: ${spec.outputs}
hidden: [8]
"""
"""A model that fails for two of its sizes, as a mistake in a user's own code does: no check can tell it before."""


@pytest.mark.slow
def test_a_failed_trial_does_not_end_the_sweep_and_is_tried_again_up_to_a_limit(
    sweep: Sweep, the_sweep: Find, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "fragile.yaml").write_text(FRAGILE_CONFIG)
    command = ("model=fragile", "model.hidden=[8],[3],[4],[9]", "sweep.retries=1", "sweep.name=mine")
    assert sweep(*command, ship=True) == 1
    folder = the_sweep("mine")
    assert [trial.state().status for trial in folder.trials()] == ["finished", "failed", "failed", "finished"]
    said = capsys.readouterr().out
    assert "2 finished, 2 failed" in said
    assert "2 x RuntimeError: Trying to create tensor with negative dimension" in said
    client = MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    failed = [run for run in runs if run.info.status == "FAILED"]
    assert {run.info.run_name for run in failed} == {"hidden=[3]", "hidden=[4]"}
    assert all("negative dimension" in run.data.tags["lantu.failure"] for run in failed)
    assert len({run.data.tags["mlflow.parentRunId"] for run in runs if run.info.run_name != "mine"}) == 1

    assert sweep(*command) == 1
    assert {trial.state().attempts for trial in folder.trials() if trial.state().status == "failed"} == {2}
    assert sweep(*command) == 1
    assert {trial.state().attempts for trial in folder.trials() if trial.state().status == "failed"} == {2}


def test_a_sweep_is_continued_by_its_name_alone(
    sweep: Sweep, the_sweep: Find, capsys: pytest.CaptureFixture[str]
) -> None:
    from lantu.cli.main import main

    assert sweep("seed=0,1", "sweep.name=mine") == 0
    folder = the_sweep("mine")
    trial = folder.trials()[1]
    state = trial.state()
    state.status = "planned"
    trial.keep(state)
    assert main(["train", "sweep.resume=mine"]) == 0
    assert statuses(folder) == {"finished": 2}
    assert folder.trials()[1].state().attempts == 2
    assert main(["train", "sweep.resume=nine"]) == 2
    assert "there is no sweep `nine`. Did you mean `mine`?" in capsys.readouterr().err


def test_a_changed_config_is_refused_with_the_difference(
    sweep: Sweep, the_sweep: Find, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    own = tmp_path / "conf" / "model" / "own.yaml"
    text = "# Mine.\n_target_: lantu.models.MLP\nfeatures: ${spec.features}\noutputs: ${spec.outputs}\nhidden: [8]\n"
    own.write_text(text)
    assert sweep("model=own,linear", "seed=0", "sweep.name=mine") == 0
    own.write_text(text.replace("[8]", "[9]"))
    assert sweep("model=own,linear", "seed=0", "sweep.name=mine") == 2
    said = capsys.readouterr().err
    assert "cannot go on: its config has changed" in said
    assert "  model.hidden: [8] -> [9]" in said
    assert sweep("model=own,linear", "seed=0", "sweep.name=mine", "optimizer.lr=0.5") == 2
    assert "`optimizer.lr=0.5` is new" in capsys.readouterr().err
    assert statuses(the_sweep("mine")) == {"finished": 2}


def test_trials_are_composed_from_the_files_as_they_were_when_the_sweep_began(
    sweep: Sweep, the_sweep: Find, tmp_path: Path
) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    own = tmp_path / "conf" / "model" / "own.yaml"
    # the first trial edits the file that the second one is composed from
    (tmp_path / "conf" / "init").mkdir()
    (tmp_path / "edits.py").write_text(
        f"from pathlib import Path\ndef edit():\n    Path({str(own)!r}).write_text('broken: [')\n    return None\n"
    )
    (tmp_path / "conf" / "init" / "edits.yaml").write_text("# Edits a file.\n_target_: edits.edit\n")
    own.write_text("# Mine.\n_target_: lantu.models.MLP\nfeatures: ${spec.features}\noutputs: ${spec.outputs}\n")
    import sys

    sys.path.insert(0, str(tmp_path))
    try:
        assert sweep("model=own", "init=edits", "seed=0,1", "sweep.name=mine") == 0
    finally:
        sys.path.remove(str(tmp_path))
    assert own.read_text() == "broken: ["
    assert statuses(the_sweep("mine")) == {"finished": 2}


@pytest.mark.slow
def test_a_budget_ends_the_sweep_and_a_larger_one_goes_on(
    sweep: Sweep, the_sweep: Find, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("seed=0,1,2", "sweep.budget.usd=1e-12", "sweep.name=mine") == 0
    assert statuses(the_sweep("mine")) == {"finished": 1, "skipped": 2}
    assert "larger `sweep.budget`" in capsys.readouterr().out
    assert sweep("seed=0,1,2", "sweep.budget.usd=1", "sweep.name=mine") == 0
    assert statuses(the_sweep("mine")) == {"finished": 3}


def test_a_sweep_that_is_running_is_not_started_twice(
    sweep: Sweep, the_sweep: Find, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep("seed=0", "sweep.name=mine") == 0
    the_sweep("mine").owner.claim()  # this process lives, as another one's would
    assert sweep("seed=0,1", "sweep.name=mine") == 2
    assert "the sweep `mine`" in capsys.readouterr().err


def test_a_full_disk_is_answered_in_a_sentence_and_leaves_no_sweep_behind(
    sweep: Sweep, mounted: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mounted("size=300k")
    assert sweep("seed=0,1", f"paths.root={folder}") == 2
    said = capsys.readouterr().err
    assert f"the disk that holds {folder}/mlruns/runs/sweeps is full" in said
    assert "Make room; then type the same command again." in said
    assert not list((folder / "mlruns" / "runs" / "sweeps").iterdir())


def test_data_that_vary_have_an_experiment_of_the_sweeps_own(sweep: Sweep, the_sweep: Find) -> None:
    assert sweep("data=digits,breast_cancer", "sweep.name=both") == 0
    content = json.loads((the_sweep("both").path / "sweep.json").read_text())
    assert content["experiment"] == "both"
    assert [trial.name for trial in the_sweep("both").trials()] == ["digits", "breast_cancer"]
