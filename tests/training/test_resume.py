"""A run that was stopped goes on where its newest good checkpoint is."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import lantu
from lantu.cli.main import main
from lantu.errors import UserError
from lantu.tracking.run_folder import RunFolder
from lantu.tracking.store import embedded_uri
from lantu.tracking.upload import upload_once

Train = Callable[..., lantu.Result]
QUIET = ("model=mlp", "trainer.enable_progress_bar=false", "logger.mlflow.ship=false", "save_model=false", "test=false")


def used(result: lantu.Result) -> dict[str, float]:
    """What a run has used up to its last checkpoint."""
    found: dict[str, float] = torch.load(result.run_dir / "checkpoints" / "last.ckpt", weights_only=True)["lantu.cost"]
    return found


def test_a_run_goes_on_from_its_last_checkpoint_in_its_own_folder(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = f"paths.run={tmp_path}/mlruns/runs/mine"
    first = train(*QUIET, "trainer.max_epochs=2", folder)
    assert first.module.trainer.current_epoch == 2
    before = used(first)
    second = train(*QUIET, "trainer.max_epochs=5", folder, "resume=auto")
    steps = first.module.trainer.global_step
    assert second.module.trainer.global_step == 5 * steps // 2
    assert f"resumes at step {steps} from " in capsys.readouterr().out
    # the record is one: the journal was continued, and the cost added up
    cost = used(second)
    assert cost["steps"] == 5 * before["steps"] // 2
    assert cost["seconds"] > before["seconds"]
    begins = (tmp_path / "mlruns/runs/mine/journal/records.jsonl").read_text().count('"kind":"begin"')
    assert begins == 2
    uids = {
        line.split('"run":"')[1][:32]
        for line in (tmp_path / "mlruns/runs/mine/journal/records.jsonl").read_text().splitlines()
        if '"kind":"begin"' in line
    }
    assert len(uids) == 1


def test_a_run_that_has_nothing_left_to_train_has_the_metrics_that_it_had(train: Train, tmp_path: Path) -> None:
    asked = (*QUIET, "trainer.max_epochs=1", f"paths.run={tmp_path}/mlruns/runs/mine", "resume=auto")
    first, second = train(*asked), train(*asked)
    measured = {name for name in first.metrics if name.startswith("val/")}
    assert "val/accuracy" in measured
    assert {name: second.metrics[name] for name in measured} == {name: first.metrics[name] for name in measured}


def test_auto_starts_afresh_where_there_is_nothing_to_go_on_from(train: Train) -> None:
    assert train(*QUIET, "trainer.max_epochs=1", "resume=auto").metrics["val/loss"] > 0


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mlruns" / "runs" / "mine"
    train(*QUIET, "trainer.max_epochs=2", f"paths.run={folder}")
    last = folder / "checkpoints" / "last.ckpt"
    best = folder / "checkpoints" / "best.ckpt"
    assert torch.load(best, weights_only=True)["epoch"] <= 1
    last.write_bytes(last.read_bytes()[:1000])
    result = train(*QUIET, "trainer.max_epochs=3", f"paths.run={folder}", "resume=auto")
    assert result.module.trainer.current_epoch == 3
    assert "last.ckpt is damaged" in capsys.readouterr().err


def uploaded(result: lantu.Result) -> str:
    """Bring a run to MLflow in this process, however long that takes; returns its id."""
    folder, store = RunFolder(result.run_dir), result.run_dir.parents[2]
    assert upload_once(folder, embedded_uri(store)) is None
    run_id = folder.upload_progress().run_id
    assert run_id
    return run_id


@pytest.mark.parametrize("named", ["folder", "id"])
def test_a_run_that_is_named_goes_on_in_its_own_folder_and_record(named: str, train: Train, tmp_path: Path) -> None:
    first = train(*QUIET, "trainer.max_epochs=1")
    run_id = uploaded(first) if named == "id" else None
    again = train(*QUIET, "trainer.max_epochs=2", f"resume={run_id or first.run_dir}")
    assert again.run_dir == first.run_dir
    assert again.module.trainer.global_step == 2 * first.module.trainer.global_step
    assert run_id in (None, uploaded(again))
    losses = [line for line in RunFolder(again.run_dir).records.read_text().splitlines() if '"val/loss":' in line]
    assert len(losses) == 2


@pytest.mark.slow
def test_a_run_whose_folder_is_gone_goes_on_from_the_checkpoint_that_mlflow_keeps(train: Train, tmp_path: Path) -> None:
    first = train(*QUIET, "trainer.max_epochs=1")
    steps, run_id = first.module.trainer.global_step, uploaded(first)
    first.run_dir.rename(tmp_path / "elsewhere")
    again = train(*QUIET, "trainer.max_epochs=2", f"resume={run_id}")
    assert again.run_dir != first.run_dir
    assert again.module.trainer.global_step == 2 * steps


def test_an_id_that_no_run_has_is_refused(train: Train, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file or folder of that name"):
        train(*QUIET, "resume=0123456789abcdef")


def test_a_run_of_another_network_is_refused_and_its_record_is_left_alone(train: Train, tmp_path: Path) -> None:
    first = train(*QUIET, "trainer.max_epochs=1")
    before = {path: path.stat().st_mtime_ns for path in first.run_dir.rglob("*")}
    with pytest.raises(UserError, match=r"is of another network .* trained with `data=digits model=mlp .* 256 by 64"):
        train(*QUIET, "model=cnn", f"resume={first.run_dir}")
    assert {path: path.stat().st_mtime_ns for path in first.run_dir.rglob("*")} == before


def test_a_run_that_is_refused_after_all_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.ckpt").write_bytes(b"PK")
    assert main(["train", *QUIET, "resume=cut.ckpt"]) == 2
    assert not list(tmp_path.glob("mlruns/runs/*/*"))


@pytest.mark.parametrize("where", ["nowhere", "."])
def test_a_path_that_leads_to_no_checkpoint_is_refused(
    where: str, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"`resume="):
        train(*QUIET, "trainer.max_epochs=1", f"resume={where}")
