"""A checkpoint file is whole or not there, shows when it is damaged, and a full disk does not end a run."""

import os
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from pickle import PicklingError
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.plugins import TorchCheckpointIO
from safetensors.torch import load_file

import lantu
from lantu.checkpoints.checkpoint_file import LAST, PREVIOUS, CheckedFiles, refuse_damaged, write_checked
from lantu.checkpoints.load import load
from lantu.errors import UserError
from lantu.inference.rebuild import rebuild
from lantu.training.callbacks.best_checkpoints import BestCheckpoints
from tests.warm import call_warm

Train = Callable[..., lantu.Result]
QUIET = ("model=mlp", "trainer.enable_progress_bar=false", "logger.mlflow.ship=false", "save_model=false", "test=false")
CONTENT: dict[str, Any] = {"epoch": 3, "state_dict": {"weight": torch.arange(40.0)}, "lr": [0.1], "name": "ä"}


def write(path: Path, **more: Any) -> Path:
    files = CheckedFiles()
    files.save_checkpoint({**CONTENT, **more}, path)
    files.teardown()
    return path


def test_what_is_written_is_read_again_by_lantu_by_torch_and_as_a_zip_archive(tmp_path: Path) -> None:
    path = write(tmp_path / "new" / "best.ckpt")
    for content in (CheckedFiles().load_checkpoint(path, weights_only=True), torch.load(path, weights_only=True)):
        assert torch.equal(content.pop("state_dict")["weight"], CONTENT["state_dict"]["weight"])
        assert content == {key: value for key, value in CONTENT.items() if key != "state_dict"}
    assert torch.equal(torch.load(path, mmap=True)["state_dict"]["weight"], CONTENT["state_dict"]["weight"])
    assert zipfile.ZipFile(path).testzip() is None
    assert os.listdir(path.parent) == ["best.ckpt"]


def test_a_byte_that_has_changed_is_found_and_the_file_named(tmp_path: Path) -> None:
    whole = write(tmp_path / "best.ckpt").read_bytes()
    for place in {*range(0, len(whole), 11), *range(40), *range(len(whole) - 100, len(whole))}:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        (tmp_path / "flipped.ckpt").write_bytes(flipped)
        with pytest.raises(UserError, match=r"flipped\.ckpt cannot be read as a checkpoint, it is damaged"):
            refuse_damaged(tmp_path / "flipped.ckpt")


def test_a_file_that_was_cut_is_found_wherever_it_was_cut(tmp_path: Path) -> None:
    whole = write(tmp_path / "best.ckpt").read_bytes()
    for length in {*range(2, len(whole), 23), *range(len(whole) - 50, len(whole))}:
        (tmp_path / "cut.ckpt").write_bytes(whole[:length])
        with pytest.raises(UserError, match="damaged"):
            refuse_damaged(tmp_path / "cut.ckpt")


def test_a_file_that_torch_wrote_is_read_and_a_changed_weight_in_it_found(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / "torch.ckpt")
    assert CheckedFiles().load_checkpoint(tmp_path / "torch.ckpt")["epoch"] == 3
    changed = bytearray((tmp_path / "torch.ckpt").read_bytes())
    weights = changed.find(CONTENT["state_dict"]["weight"].numpy().tobytes())
    changed[weights + 7] ^= 1
    (tmp_path / "torch.ckpt").write_bytes(changed)
    assert torch.load(tmp_path / "torch.ckpt", weights_only=True)["epoch"] == 3  # torch does not look
    with pytest.raises(UserError, match="damaged"):
        CheckedFiles().load_checkpoint(tmp_path / "torch.ckpt")


def test_a_folder_in_the_place_of_a_checkpoint_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").mkdir()
    with pytest.raises(UserError, match=r"last.ckpt is a folder, not a checkpoint"):
        load(tmp_path / "last.ckpt")


def test_a_full_disk_keeps_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / LAST)
    before = path.read_bytes()
    path.with_name("last.ckpt.part").symlink_to("/dev/full")  # the kernel answers as a full disk does
    write(path, epoch=4)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [LAST]
    assert "last.ckpt could not be written: No space left on device; the one before is kept" in capsys.readouterr().err
    write(path, epoch=5)
    assert torch.load(path)["epoch"] == 5
    assert torch.load(tmp_path / PREVIOUS)["epoch"] == 3


def test_what_training_changes_while_a_checkpoint_is_written_does_not_get_into_it(tmp_path: Path) -> None:
    files, weights = CheckedFiles(), torch.zeros(2_000_000)
    files.save_checkpoint({"weights": weights, "tied": weights, "list": [weights[:5]]}, tmp_path / LAST)
    weights += 1
    files.wait()
    kept = torch.load(tmp_path / LAST, weights_only=True)
    assert not kept["weights"].any()
    assert not kept["list"][0].any()
    assert kept["weights"].data_ptr() == kept["tied"].data_ptr()  # and what is shared is written once
    files.teardown()


def test_an_error_in_the_writing_thread_is_raised_by_the_next_call_and_at_the_end(tmp_path: Path) -> None:
    for call in (lambda files: files.save_checkpoint(CONTENT, tmp_path / LAST), lambda files: files.teardown()):
        files = CheckedFiles()
        files.save_checkpoint({"cannot be written": lambda: None}, tmp_path / LAST)
        with pytest.raises((AttributeError, PicklingError)):
            call(files)
        files.teardown()


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_as_many_of_the_last_checkpoints_are_kept_as_asked_for(tmp_path: Path, keep: int) -> None:
    files = CheckedFiles(keep=5)
    for epoch in range(6):
        files.save_checkpoint({"epoch": epoch}, tmp_path / LAST)
    files.teardown()
    fewer = CheckedFiles(keep=keep)
    fewer.save_checkpoint({"epoch": 6}, tmp_path / LAST)
    fewer.teardown()
    kept = {path.name: torch.load(path)["epoch"] for path in tmp_path.iterdir()}
    assert kept == {LAST: 6, **{f"last-{number}.ckpt": 6 - number for number in range(1, keep)}}


@pytest.mark.slow
def test_a_run_whose_disk_refuses_checkpoints_goes_on_with_the_old_ones(train: Train, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "mine"
    train(*QUIET, "trainer.max_epochs=1", f"paths.run={folder}")
    before = {name: (folder / "checkpoints" / name).read_bytes() for name in ("best.ckpt", LAST)}
    room = min(map(len, before.values())) // 2
    command = [sys.executable, "-m", "lantu", "train", *QUIET, "test=true", "trainer.max_epochs=3", "resume=auto"]
    ended = subprocess.run(
        [*command, f"paths.run={folder}", f"paths.root={tmp_path}", "callbacks.figures=null"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
        capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "last.ckpt could not be written: File too large; the one before is kept and training goes on" in ended.stderr
    assert {name: (folder / "checkpoints" / name).read_bytes() for name in before} == before
    assert "accuracy" in ended.stdout


def test_a_run_goes_on_from_the_one_before_where_the_last_two_are_damaged_in_one_byte(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / "mine"
    first = train(*QUIET, "trainer.max_epochs=3", f"paths.run={folder}", "callbacks.resume.steps=1")
    steps = first.module.trainer.global_step
    for name in (LAST, "best.ckpt"):
        path = folder / "checkpoints" / name
        changed = bytearray(path.read_bytes())
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        os.utime(path)
    with pytest.raises(UserError, match=rf"{LAST} .*damaged.* `resume={folder}/checkpoints` goes on"):
        train(*QUIET, "trainer.max_epochs=4", f"resume={folder}/checkpoints/{LAST}")
    with pytest.raises(UserError, match=r"best\.ckpt .*damaged"):
        rebuild(folder / "checkpoints" / "best.ckpt")
    assert torch.load(folder / "checkpoints" / PREVIOUS)["global_step"] == steps - 1
    second = train(*QUIET, "trainer.max_epochs=4", f"paths.run={folder}", "resume=auto")
    assert second.module.trainer.global_step == steps * 4 // 3
    said = capsys.readouterr().err
    assert f"{LAST} is damaged" in said


def write_for_ever(folder: Path) -> None:
    files = CheckedFiles()
    for epoch in range(10**6):
        files.save_checkpoint({"epoch": epoch, "w": torch.zeros(500_000)}, folder / LAST)


def test_a_process_killed_while_it_writes_leaves_only_whole_checkpoints(tmp_path: Path) -> None:
    for number, wait in enumerate((0.0, 0.002, 0.005, 0.009, 0.014)):
        folder = tmp_path / str(number)
        process = call_warm(write_for_ever, folder)
        while not (folder / PREVIOUS).is_file():
            time.sleep(0.001)
        time.sleep(wait)
        process.kill()
        process.wait()
        kept = {each.name: CheckedFiles().load_checkpoint(each)["epoch"] for each in folder.glob("*.ckpt")}
        # it was killed before or after the moment in which the last one becomes the one before
        assert kept[LAST] - kept.get(PREVIOUS, kept[LAST]) in (0, 1)
        assert kept.keys() <= {LAST, PREVIOUS}
        assert write(folder / LAST).is_file()  # and what it left half written is in nobody's way
        assert {each.name for each in folder.iterdir()} == {LAST, PREVIOUS}


def test_a_trainer_that_was_given_a_way_to_keep_checkpoints_keeps_it() -> None:
    class Own(TorchCheckpointIO):
        pass

    own = Trainer(accelerator="cpu", logger=False, plugins=[Own()])
    ours = Trainer(accelerator="cpu", logger=False)
    for trainer in (own, ours):
        write_checked(trainer)
    assert type(own.strategy.checkpoint_io) is Own
    assert type(ours.strategy.checkpoint_io) is CheckedFiles


def test_the_best_few_are_kept_under_names_of_their_own_and_the_best_of_them_as_best(train: Train) -> None:
    result = train(*QUIET, "trainer.max_epochs=4", "callbacks.checkpoint.save_top_k=2")
    folder = result.run_dir / "checkpoints"
    kept = sorted(folder.glob("best-*.ckpt"))
    assert len(kept) == 2
    assert result.best_checkpoint in kept
    assert (folder / "best.ckpt").read_bytes() == result.best_checkpoint.read_bytes()
    refuse_damaged(folder / "best.ckpt")


@pytest.mark.parametrize("chosen", [("model=mlp",), ("model=linear", "callbacks.checkpoint=null")])
def test_the_best_weights_are_also_left_as_safetensors(train_shortly: Train, chosen: tuple[str, ...]) -> None:
    result = train_shortly(*chosen, "callbacks=[default,safetensors]", "test=false", "save_model=false")
    weights = load_file(result.run_dir / "checkpoints" / "best.safetensors")
    expected = rebuild(result.best_checkpoint).task if result.best_checkpoint else result.module
    assert weights.keys() == expected.state_dict().keys()
    assert all(torch.equal(weights[name], value) for name, value in expected.state_dict().items())


def test_the_best_checkpoint_is_one_that_the_disk_has_taken(tmp_path: Path) -> None:
    callback = BestCheckpoints(dirpath=tmp_path, filename="best", monitor="val/loss", save_top_k=3)
    scores = {"refused": 0.1, "second": 0.2, "third": 0.3}
    callback.best_k_models = {
        str(tmp_path / f"best-{name}.ckpt"): torch.tensor(score) for name, score in scores.items()
    }
    callback.best_model_path = str(tmp_path / "best-refused.ckpt")
    for name in ("second", "third"):
        (tmp_path / f"best-{name}.ckpt").write_text(name)
    callback.on_fit_end(Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), LightningModule())
    assert Path(callback.best_model_path).name == "best-second.ckpt"
    assert callback.best_model_score == torch.tensor(0.2)
    assert (tmp_path / "best.ckpt").read_text() == "second"
