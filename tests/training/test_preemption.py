"""A job whose machine is wanted back keeps a checkpoint first, and says so only where there is one."""

import os
import resource
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback

import lantu
from lantu.training.callbacks.exact_resume import KEY
from lantu.training.callbacks.interruptible import Interruptible
from tests.warm import call_warm

QUEUED_AGAIN = 7
SMALL = (
    "data=breast_cancer", "model=linear", "trainer=cpu", "trainer.max_epochs=3", "trainer.enable_progress_bar=false",
    "trainer.accumulate_grad_batches=3", "logger.mlflow.ship=false", "test=false", "save_model=false",
)  # fmt: skip


def job(folder: Path, number: signal.Signals, room: int | None) -> None:
    """A run that is sent a signal after eight batches, as SLURM and submitit would."""
    os.environ["SUBMITIT_EXECUTOR"] = "local"
    sys.stderr = (folder / "said.txt").open("w", buffering=1)

    def queue_again(number: int, frame: FrameType | None) -> None:
        os._exit(QUEUED_AGAIN)

    signal.signal(signal.SIGUSR2, queue_again)

    def warn(callback: Callback, trainer: Any, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx == 7:
            if room is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            os.kill(os.getpid(), number)

    Interruptible.on_train_batch_end = warn  # type: ignore[assignment, method-assign]
    lantu.run(lantu.compose(f"paths.root={folder}", f"paths.run={folder}/run", *SMALL))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGUSR2, QUEUED_AGAIN), (signal.SIGTERM, 0)])
def test_a_checkpoint_is_kept_before_the_job_is_queued_again_or_ends(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    assert call_warm(job, tmp_path, number, None).wait() == status, (tmp_path / "said.txt").read_text()
    # a run that has trained to its end would have written another one
    kept = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept[KEY]["batches"] == 9, "it waits for the gradients of three batches to be one step"
    assert (
        f"{number.name}: the cluster is about to stop this job; a checkpoint is kept at step 3"
        in (tmp_path / "said.txt").read_text()
    )


def test_a_checkpoint_that_the_disk_refuses_is_not_said_to_be_kept(tmp_path: Path) -> None:
    assert call_warm(job, tmp_path, signal.SIGUSR2, 4000).wait() == QUEUED_AGAIN
    said = (tmp_path / "said.txt").read_text()
    assert "last.ckpt could not be written: File too large" in said
    assert "no checkpoint could be kept now" in said
    assert "is kept at step" not in said
    assert not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
