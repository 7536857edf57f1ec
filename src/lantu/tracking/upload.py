"""The shipper: `python -m lantu.tracking.upload`, a process beside the training that imports MLflow so that it
need not.

    ship RUN_DIR          follow one run until it has ended and MLflow has it
    ship --family DIR     follow a run and those below its folder, until our standard input ends and MLflow has all
    ship --store DIR      ship what waits in a store, once

The destination comes in the environment (`LANTU_SHIP_TO`), where other users do not see the password in it.
"""

import os
import select
import sys
import time
import traceback
from pathlib import Path
from typing import TextIO

from lantu.lazy_imports import gc_paused
from lantu.redaction import redact
from lantu.tracking.run_folder import RunFolder, run_folders

EVERY = 2.0  # seconds between batches while the training runs
BUSY = "another process is shipping it right now"
PATIENCE = 5.0  # seconds that one attempt waits for a shipper that is just ending
LONGEST_WAIT = 30.0  # seconds between attempts while MLflow cannot be reached
LINGER = float(os.environ.get("LANTU_SHIP_LINGER", "60"))  # seconds of attempts after the training has ended


class RedactedStream:
    """A text stream that hides credentials line by line: libraries print the addresses that they use."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._line = ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._stream.write(f"{redact(line)}\n")
        self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """What is left of a line stays until it is whole, or until the end."""
        self._stream.flush()

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        """Write what is left of the last line."""
        if self._line:
            self.write("\n")


def main(arguments: list[str]) -> int:
    sys.stdout = sys.stderr = stream = RedactedStream(sys.stderr)  # both are one log
    try:
        return _main(arguments)
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        stream.close()


def _main(arguments: list[str]) -> int:
    prepare()
    uri = os.environ["LANTU_SHIP_TO"]
    if arguments[0] == "--store":
        store = Path(arguments[1])
        for folder in run_folders(store):
            destination = None if folder.is_shipped() else folder.destination(store, [uri])
            if destination is not None:
                ship_once(folder, destination)
        return 0
    if arguments[0] == "--family":
        return follow_family(Path(arguments[1]), uri)
    return follow(RunFolder(Path(arguments[0])), uri)


def prepare() -> None:
    """Settings that MLflow reads when it is imported: short patience, for the waiting is done here."""
    for name, value in {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "OMP_NUM_THREADS": "1",
    }.items():
        os.environ.setdefault(name, value)


def follow(folder: RunFolder, uri: str) -> int:
    """Ship a run while it is being written, until it has ended and everything has arrived."""
    os.nice(10)  # the training comes first
    trainer = Trainer()
    with folder.shipping() as mine:
        if not mine:
            return 0
        with gc_paused():
            from lantu.tracking.destination import RunDeleted
            from lantu.tracking.run_upload import RunUpload

        shipment, since, wait = None, time.monotonic(), EVERY
        while True:
            try:
                shipment = shipment or RunUpload(folder, uri)
                before = shipment.shipped.offset
                if shipment.advance():
                    return 0
                wait, since = EVERY, time.monotonic() if shipment.shipped.offset > before else since
            except RunDeleted as deleted:
                note(folder, deleted)
                return 1
            except Exception as error:
                note(folder, error)
                shipment = None  # what it knows of MLflow may no longer hold
                wait = min(LONGEST_WAIT, wait * 1.5)
                if trainer.has_gone() and time.monotonic() - max(since, trainer.gone_at) > LINGER:
                    return 1
                if trainer.has_gone():
                    wait = min(wait, 3.0)
            trainer.wait(wait)


def follow_family(parent: Path, uri: str) -> int:
    """Ship a run and its children, however many come, until whoever started us has gone and MLflow has all."""
    os.nice(10)
    conductor = Trainer()
    done: set[Path] = set()
    wait, since = EVERY, time.monotonic()
    while True:
        last_pass = conductor.has_gone()
        waiting = [each for each in family(parent) if each.run_dir not in done or (last_pass and not each.is_shipped())]
        troubled = [each for each in waiting if ship_once(each, uri) is not None]
        done |= {each.run_dir for each in waiting if each not in troubled and each.is_shipped()}
        if last_pass and all(each.is_shipped() for each in waiting):
            return 0
        if not troubled:
            wait, since = EVERY, time.monotonic()
        elif last_pass and time.monotonic() - max(since, conductor.gone_at) > LINGER:
            return 1
        else:
            wait = min(LONGEST_WAIT if not last_pass else 3.0, wait * 1.5)
        conductor.wait(wait)


def family(parent: Path) -> list[RunFolder]:
    """A run and those two folders below its own, as a sweep keeps them, the parent first."""
    journals = [parent / "journal" / "records.jsonl", *sorted(parent.glob("*/*/journal/records.jsonl"))]
    return [RunFolder(path.parent.parent) for path in journals if path.is_file()]


def ship_once(folder: RunFolder, uri: str) -> str | None:
    """Ship what a run has now; why it could not be done, in words, or None."""
    with folder.shipping(patience=PATIENCE) as mine:
        if not mine:
            return BUSY
        from lantu.tracking.run_upload import RunUpload

        try:
            RunUpload(folder, uri).advance()
        except Exception as error:
            return note(folder, error)
    return None


def note(folder: RunFolder, error: Exception) -> str:
    """Write down why an attempt failed: for the log in full, for shipped.json in a sentence."""
    text = redact("".join(traceback.format_exception(error)))
    sentence = redact(f"{type(error).__name__}: {error}").split("\n")[0][:300]
    shipped = folder.shipped()
    if shipped.trouble != sentence:  # the same trouble every few seconds is one trouble
        with folder.log.open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
    shipped.trouble = sentence
    shipped.failures += 1
    folder.keep(shipped)
    return sentence


class Trainer:
    """The process that started us, as seen through our standard input: it ends when that process closes it or
    dies."""

    def __init__(self) -> None:
        self.gone_at = 0.0

    def has_gone(self) -> bool:
        return self.gone_at > 0

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than the trainer has something to say by leaving."""
        if self.has_gone():
            time.sleep(min(seconds, 0.2) if seconds <= EVERY else seconds)
        elif select.select([sys.stdin], [], [], seconds)[0]:
            self.gone_at = time.monotonic()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
