"""A run that Lantu wrote before its files moved (a linear model on breast_cancer) is measured, applied and uploaded."""

import json
import shutil
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf
from sklearn.datasets import load_breast_cancer

from lantu.cli.main import main
from lantu.config.checking import targets

KEPT = Path(__file__).parent / "run_before_layout"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where a run of this working directory would lie."""
    folder = tmp_path / "mlruns" / "runs" / "before"
    shutil.copytree(KEPT, folder)
    monkeypatch.chdir(tmp_path)
    return folder


def recorded(run: Path) -> dict[str, float]:
    lines = [json.loads(line) for line in (run / "journal" / "records.jsonl").read_text().splitlines()]
    return {name: value for line in lines if line["kind"] == "metrics" for name, value in line["values"].items()}


def test_its_metrics_are_measured_again_from_its_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", f"run={run}"]) == 0
    said, before = capsys.readouterr().out, recorded(run)
    for name in ("accuracy", "auroc", "f1", "loss"):
        value = next(float(line.split()[1]) for line in said.splitlines() if line.split()[:1] == [name])
        assert value == pytest.approx(before[f"test/{name}"], rel=1e-5), name


def test_it_predicts_for_new_rows(run: Path) -> None:
    data = load_breast_cancer(as_frame=True)
    data.data.to_csv("new.csv", index=False)
    assert main(["predict", f"run={run}", "input=new.csv", "output=answers.csv"]) == 0
    answers = pd.read_csv("answers.csv")
    right = answers["prediction"] == pd.Series(data.target_names[data.target])
    assert right.mean() > 0.85


def test_its_journal_reaches_mlflow_with_every_number(run: Path) -> None:
    assert main(["sync"]) == 0
    found = mlflow.MlflowClient(f"sqlite:///{run.parents[1]}/mlflow.db")
    (experiment,) = [each for each in found.search_experiments() if each.name == "breast_cancer"]
    (uploaded,) = found.search_runs([experiment.experiment_id])
    assert uploaded.info.status == "FINISHED"
    assert uploaded.data.metrics["test/loss"] == pytest.approx(recorded(run)["test/loss"])


def test_training_goes_on_from_its_checkpoint(run: Path) -> None:
    asked = ["data=breast_cancer", "model=linear", "trainer.accelerator=cpu", "trainer.enable_progress_bar=false"]
    more = [f"resume={run}/checkpoints/best.ckpt", "trainer.max_epochs=3", "paths.run=mlruns/runs/more",
            "++callbacks.figures=null", "logger.mlflow.ship=false", "save_model=false"]  # fmt: skip
    assert main(["train", *asked, *more]) == 0
    before = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    after = torch.load("mlruns/runs/more/checkpoints/best.ckpt", weights_only=True)
    assert (before["epoch"], after["epoch"]) == (1, 2)


def test_every_name_in_its_config_still_leads_somewhere() -> None:
    found = list(targets(OmegaConf.load(KEPT / "config.yaml")))
    assert len(found) > 10
    for path, node in found:
        assert callable(get_object(str(node["_target_"]))), path
