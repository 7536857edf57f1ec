"""What training takes from below Lightning's public interface: pinned, bounded by versions, and switched off."""

import hashlib
import inspect
import os
import subprocess
import sys
from typing import Any

import pytest
from pytorch_lightning import Trainer
from pytorch_lightning import __version__ as lightning_version

from lantu.training.loop import lightning_internals, malloc
from lantu.training.loop.lean_loop import LeanEpochLoop, make_lean
from lantu.training.loop.lightning_internals import RELIES_ON, why_not_lean

TESTED_VERSION = "2.6.6"
SOURCES = {
    "_TrainingEpochLoop.__init__": "dc28ffa4ba21",
    "_TrainingEpochLoop.on_run_start": "4993b0dcc52b",
    "_TrainingEpochLoop.done": "ba06fbd80fe3",
    "_TrainingEpochLoop.advance": "c7555c016027",
    "_TrainingEpochLoop.on_advance_end": "2d1ddaa4e45e",
    "_TrainingEpochLoop._should_check_val_fx": "cf0916b12e18",
    "_TrainingEpochLoop._should_check_val_epoch": "123f3003daac",
    "_TrainingEpochLoop.update_lr_schedulers": "7ea198b469a4",
    "_TrainingEpochLoop._update_learning_rates": "26ac8752d7a3",
    "_TrainingEpochLoop._num_ready_batches_reached": "d51c52199e57",
    "_TrainingEpochLoop._should_accumulate": "5482f0c6d473",
    "_TrainingEpochLoop._broadcast_sigterm_tensor": "d4e504c3f7d8",
    "_DataFetcher.__next__": "0d13131ad356",
    "_PrefetchDataFetcher.__iter__": "6e52ce1a37dd",
    "_PrefetchDataFetcher.__next__": "8611192d7629",
    "CombinedLoader.__next__": "6208793dc22d",
    "_MaxSizeCycle.__next__": "b71ceef48cfb",
    "_AutomaticOptimization.run": "385b43732ecc",
    "_AutomaticOptimization._make_zero_grad_fn": "0f9b56ff1dc1",
    "_AutomaticOptimization._make_backward_fn": "638ca477b275",
    "_AutomaticOptimization._training_step": "72e8f9529eac",
    "Precision.optimizer_step": "868b323ae627",
    "Precision._wrap_closure": "2d25ccda9ac5",
    "Precision._after_closure": "395e946246fa",
    "Precision.train_step_context": "8af7be843010",
    "Precision.forward_context": "be84f4d137d2",
    "Strategy.training_step": "6a2e76195a82",
    "_ResultCollection.log": "5610cd678e27",
    "_ResultMetric.to": "f45ccd769696",
    "_LoggerConnector.on_batch_start": "5022a98e255d",
    "_LoggerConnector.on_batch_end": "87c0a9cd43e9",
    "_LoggerConnector.update_train_step_metrics": "44584c0c55de",
    "_LoggerConnector.should_update_logs": "a60ba9e9cd0c",
    "ModelCheckpoint.on_train_batch_end": "71bdc73ce42b",
}
"""Hashes of the source, in the tested version, of what the lean loop relies on."""

FAULTS = """
import resource, runpy, sys
if sys.argv[1] == "keep":
    runpy.run_path(sys.argv[2])["keep_freed_memory"]()
def fill():
    return bytearray(b"x") * 8_000_000
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _hash(method: Any) -> str:
    source = inspect.getsource(getattr(method, "fget", method))  # of a property its function
    return hashlib.sha256(source.encode()).hexdigest()[:12]


def test_lightnings_loop_is_the_one_that_the_lean_loop_stands_in_for() -> None:
    if lightning_version != TESTED_VERSION:
        pytest.skip(f"compares with Lightning {TESTED_VERSION}; {lightning_version} is installed")
    now = {f"{owner.__name__}.{name}": _hash(getattr(owner, name)) for owner, name in RELIES_ON}
    changed = [name for name in now if now[name] != SOURCES.get(name)]
    assert not changed, (
        f"Lightning has changed {', '.join(changed)}. Read what is new, do the same in LeanEpochLoop, and then note "
        "the version and the new hashes here and in lightning_internals.TESTED."
    )


@pytest.mark.parametrize(("version", "fits"), [("2.6.0", True), ("2.6.9", True), ("2.5.6", False), ("2.7.0", False)])
def test_the_lean_loop_is_for_the_versions_it_was_tested_with(version: str, fits: bool) -> None:
    assert (why_not_lean(version) == "") is fits


def test_the_lean_loop_steps_aside_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lightning_internals, "TESTED", ((1, 0), (1, 1)))
    trainer = Trainer(logger=False, enable_progress_bar=False, accelerator="cpu", enable_checkpointing=False)
    make_lean(trainer)
    assert not isinstance(trainer.fit_loop.epoch_loop, LeanEpochLoop)
    assert (
        f"`lean=true` is left out: it was tested with Lightning 1.0, and {lightning_version}" in capsys.readouterr().err
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc's malloc is told to keep memory")
def test_freed_memory_is_kept_for_the_next_tensor_unless_it_is_switched_off() -> None:
    def page_faults(mode: str, switch: str) -> int:
        environment = {**os.environ, "LANTU_KEEP_MEMORY": switch}
        command = [sys.executable, "-c", FAULTS, mode, malloc.__file__]  # of itself: the package imports torch
        return int(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    kept, untouched, off = page_faults("keep", "1"), page_faults("leave", "1"), page_faults("keep", "0")
    assert kept < untouched / 5
    assert off > kept * 5
