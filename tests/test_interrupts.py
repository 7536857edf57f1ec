"""Ctrl-C ends what it is meant for, also where Python swallows the exception that it raises."""

import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from lantu.cli.main import main
from lantu.interrupts import interruptible, raise_if_asked

REPO = Path(__file__).resolve().parents[1]
SHORT = ("model=linear", "trainer.max_epochs=2", "test=false", "logger.mlflow.ship=false", "init=own")
STUCK = """
import sys, time
from lantu.interrupts import interruptible

said = "stuck"
with interruptible():
    while True:
        try:
            print(said, flush=True)  # inside, for the signal may come as soon as this is read
            time.sleep(60)
        except BaseException:
            said = "stuck again"
"""


@pytest.fixture(autouse=True)
def somebody_at_the_terminal() -> Iterator[None]:
    """A shell lets what it starts in the background ignore Ctrl-C; so would this process and its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_where_it_is_swallowed() -> None:
    """Ctrl-C while Python runs a weakref callback, which it does whenever it likes."""

    class Thing:
        pass

    def press(_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass

    thing = Thing()
    reference = weakref.ref(thing, press)
    del thing
    del reference


def initialise_with(folder: Path, target: str) -> None:
    (folder / "conf" / "init").mkdir(parents=True)
    (folder / "conf" / "init" / "own.yaml").write_text(
        f"# Something that happens before training.\n_target_: {target}\n"
    )


def test_a_ctrl_c_that_python_swallows_is_raised_at_the_next_place_that_asks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept = signal.getsignal(signal.SIGINT), sys.unraisablehook
    with interruptible():
        raise_if_asked()
        press_where_it_is_swallowed()  # and we are still here
        with pytest.raises(KeyboardInterrupt):
            raise_if_asked()
    raise_if_asked()  # it is over: the next run has been asked nothing
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == kept
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("sweep", [(), ("-m", "seed=0,1", "sweep.name=mine")], ids=["run", "sweep"])
def test_a_ctrl_c_that_gets_lost_stops_a_run_and_a_sweep_all_the_same(
    sweep: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANTU_HOME", str(tmp_path))
    monkeypatch.syspath_prepend(REPO)
    initialise_with(tmp_path, "tests.test_interrupts.press_where_it_is_swallowed")
    assert main(["train", *sweep, *SHORT]) == 130
    said = "".join(capfd.readouterr())
    assert "stopped; " in said
    assert "Traceback" not in said
    assert "Exception ignored" not in said


def test_a_second_ctrl_c_ends_a_process_that_is_stuck() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for expected in ("stuck", "stuck again"):
        assert process.stdout.readline().strip() == expected
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == -signal.SIGINT
    assert process.stdout.read() == ""
