"""What stops a run is said in a sentence, kept in its folder and in its record."""

import errno
import json
import logging
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn

import lantu
from lantu.checkpoints.embedded_config import Recipe
from lantu.errors import Fault, is_full_disk, is_full_shared_memory
from lantu.log_noise import without_noise
from lantu.serving.package import write_model
from lantu.training.callbacks.finite_loss import first_not_finite
from lantu.training.callbacks.interruptible import Interruptible
from lantu.training.faults import _cuda_advice, failure_message, largest_that_fits

QUIET = (
    "trainer=cpu",
    "model=mlp",
    "trainer.max_epochs=3",
    "trainer.enable_progress_bar=false",
    "logger.mlflow.ship=false",
)
STARVED = """
import resource, sys
import lantu.training.run, lantu.training.train_command, lantu.serving.package
from pathlib import Path
from lantu.cli.main import main
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 2**31, size + 2**31))
sys.exit(main(["train", *sys.argv[1:]]))
"""


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "journal" / "records.jsonl").read_text().splitlines()]


def test_a_loss_that_is_no_number_ends_the_run_with_the_step_and_the_weights(
    train: Callable[..., lantu.Result], tmp_path: Path
) -> None:
    folder = tmp_path / "mlruns" / "runs" / "mine"
    with pytest.raises(Fault, match=r"the loss became (nan|inf) at step \d+ \(epoch 0, batch \d+\): .*optimizer.lr="):
        train(*QUIET, "optimizer=sgd", "optimizer.lr=1e30", f"paths.run={folder}")
    assert "Traceback" in (folder / "error.txt").read_text()
    kept = records(folder)
    assert any("the loss became" in str(record["values"]) for record in kept if record["kind"] == "tags")
    assert kept[-1]["status"] == "FAILED"


def test_the_first_layer_whose_output_is_not_finite_is_named() -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sqrt()

    net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Identity(), Root()), nn.Identity())
    assert first_not_finite(net, torch.ones(2)) is None
    assert first_not_finite(net[1:], -torch.ones(2)) == "1.1 (Root)"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs Linux's /proc and its limit on memory")
def test_memory_that_runs_out_is_answered_with_a_batch_that_may_fit(tmp_path: Path) -> None:
    wide = ("model=mlp", "model.hidden=[400000]", "data.batch_size=1024", "trainer=cpu", "trainer.max_epochs=1")
    more = ("optimizer=sgd", "trainer.enable_progress_bar=false", f"paths.root={tmp_path}", f"paths.run={tmp_path}/run")
    done = subprocess.run(
        [sys.executable, "-c", STARVED, *wide, *more], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    assert "memory ran out at step 0" in done.stderr
    asked = re.search(r"`data.batch_size=(\d+) trainer.accumulate_grad_batches=(\d+)`", done.stderr)
    assert asked, done.stderr
    assert int(asked.group(1)) * int(asked.group(2)) == 1024
    assert int(asked.group(1)) < 1024
    assert "Traceback" not in done.stderr
    assert "allocate" in (tmp_path / "run" / "error.txt").read_text()


def test_a_process_that_prepares_batches_and_dies_is_named_with_what_helps(
    train: Callable[..., lantu.Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_one(callback: object, trainer: Trainer, *_: object) -> None:
        if trainer.global_step == 2:
            process = multiprocessing.active_children()[0].pid
            assert process
            os.kill(process, signal.SIGKILL)

    monkeypatch.setattr(Interruptible, "on_train_batch_end", kill_one)
    died = r"process \d+, one of 2 that prepare batches, was ended by the signal Killed at step \d+.*`data.workers=1`"
    with pytest.raises(Fault, match=died):
        train(*QUIET, "data.workers=2", "trainer.max_epochs=1000", "test=false")


@pytest.mark.parametrize(
    ("batch", "wanted", "held", "fits"),
    [(128, 0, 10, 64), (128, 10, 10, 64), (128, 40, 10, 16), (1, 5, 1, 1), (6, 0, 1, 3)],
)
def test_the_batch_that_may_fit_divides_the_one_that_did_not(batch: int, wanted: int, held: float, fits: int) -> None:
    assert largest_that_fits(batch, wanted=wanted, held=held) == fits


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ("CUDA error: no kernel image is available for execution on the device", "has no code for this GPU"),
        ("The NVIDIA driver on your system is too old (found version 11040).", "driver is older than torch"),
        ("CUDA driver version is insufficient for CUDA runtime version", "driver is older than torch"),
        ("the provided PTX was compiled with an unsupported toolchain.", "driver is older than torch"),
    ],
)
def test_what_torch_says_of_a_driver_that_does_not_fit_becomes_what_to_do(said: str, sentence: str) -> None:
    answer = _cuda_advice(f"CUDA error: {said}\nCompile with TORCH_USE_CUDA_DSA")
    assert answer is not None
    assert sentence in answer
    assert "trainer=cpu" in answer
    assert _cuda_advice("CUDA out of memory") is None


def test_shared_memory_without_room_is_no_full_disk() -> None:
    error = RuntimeError("unable to write to file </torch_412_3891_0>: No space left on device (28)")
    assert not is_full_disk(error)
    assert is_full_shared_memory(str(error))
    assert is_full_disk(RuntimeError("[Errno 28] No space left on device: '/data/last.ckpt'"))


def test_a_disk_that_is_full_before_the_first_step_is_named_too(tmp_path: Path) -> None:
    said = failure_message(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert said.startswith(f"the disk that holds {tmp_path} is full")


def test_an_error_of_mlflows_database_is_answered_without_its_traceback() -> None:
    without_noise()
    assert not logging.getLogger("mlflow.store.db.utils").isEnabledFor(logging.ERROR)


def test_a_disk_that_is_full_is_named(
    train_shortly: Callable[..., lantu.Result], mounted: Callable[[str], Path]
) -> None:
    folder = mounted("size=256k")
    with pytest.raises(Fault, match=rf"the disk that holds {folder}/run is full.* No checkpoint was kept before"):
        train_shortly("model=mlp", f"paths.run={folder}/run", pictures=True)


def test_a_run_none_of_whose_checkpoints_could_be_written_has_failed(
    train_shortly: Callable[..., lantu.Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lantu.checkpoints.checkpoint_file.write_checkpoint", full)
    with pytest.raises(Fault, match=rf"no checkpoint could be written into {tmp_path}/run/checkpoints.*model is lost"):
        train_shortly("model=mlp", f"paths.run={tmp_path}/run")
    assert "no checkpoint could be written" in (tmp_path / "run" / "error.txt").read_text()


def test_a_model_that_does_not_fit_on_the_disk_leaves_nothing_half_written(
    train_shortly: Callable[..., lantu.Result], mounted: Callable[[str], Path]
) -> None:
    done, folder = train_shortly("model=mlp", "save_model=false"), mounted("size=64k")
    assert done.best_checkpoint is not None
    with pytest.raises(OSError, match="No space left"):
        write_model(
            folder / "model", checkpoint=done.best_checkpoint, data=done.data, task=done.module, recipe_key=Recipe.KEY
        )
    assert not [*folder.iterdir()]
