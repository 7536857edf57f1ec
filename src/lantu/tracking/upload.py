"""The uploader, `python -m lantu.tracking.upload`: a separate process, so that the training need not import MLflow.

    upload RUN_DIR          follow one run until it has ended and MLflow has it
    upload --family DIR     follow a run and those below its folder, until standard input ends and MLflow has all
    upload --store DIR      upload the unsynced runs of a store, once

The destination is in the environment variable `LANTU_UPLOAD_TO`, where other users cannot see the password in it.
"""

import os
import select
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from lantu.lazy_imports import gc_paused
from lantu.redaction import redact
from lantu.tracking.run_folder import RunFolder, run_folders

EVERY = 2.0  # seconds between batches while the training runs
BUSY = "another process is uploading it right now"
PATIENCE = 5.0  # seconds that one attempt waits for an uploader that is about to exit
LONGEST_WAIT = 30.0  # seconds between attempts while MLflow cannot be reached
LINGER = float(os.environ.get("LANTU_UPLOAD_LINGER", "60"))  # seconds of attempts after the training has ended


class RedactedStream:
    """A text stream that redacts credentials line by line: libraries print the addresses that they use."""

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
        """An incomplete line is kept until it is complete, or until `close`."""
        self._stream.flush()

    def isatty(self) -> bool:
        return False

    def close(self) -> None:
        """Write the last, incomplete line."""
        if self._line:
            self.write("\n")


def main(arguments: list[str]) -> int:
    sys.stdout = sys.stderr = stream = RedactedStream(sys.stderr)  # one log for both
    try:
        return _main(arguments)
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        stream.close()


def _main(arguments: list[str]) -> int:
    prepare()
    uri = os.environ["LANTU_UPLOAD_TO"]
    if arguments[0] == "--store":
        store = Path(arguments[1])
        for folder in run_folders(store):
            destination = None if folder.is_uploaded() else folder.destination(store, [uri])
            if destination is not None:
                upload_once(folder, destination)
        return 0
    if arguments[0] == "--family":
        return follow_family(Path(arguments[1]), uri)
    return follow(RunFolder(Path(arguments[0])), uri)


def hide_table_libraries() -> None:
    """Let MLflow find no pandas, SciPy and PyArrow, as in mlflow-skinny: it would import them, and nothing here is a
    table. The process starts in 1.7 instead of 2.0 processor seconds and needs less memory."""
    for name in ("pandas", "scipy", "pyarrow"):
        sys.modules[name] = None  # type: ignore[assignment]  # importing it is an ImportError


def prepare() -> None:
    """Set what MLflow reads at its import: short time limits, since this module retries itself."""
    for name, value in {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "OMP_NUM_THREADS": "1",
    }.items():
        os.environ.setdefault(name, value)


def follow(folder: RunFolder, uri: str) -> int:
    """Upload a run while it is being written, until it has ended and MLflow has all of it."""
    os.nice(10)  # the training has priority
    trainer = Trainer()
    with folder.uploading() as mine:
        if not mine:
            return 0
        with gc_paused():
            from lantu.tracking.destination import RunDeleted
            from lantu.tracking.run_upload import RunUpload

        upload, since, wait = None, time.monotonic(), EVERY
        while True:
            try:
                upload = upload or RunUpload(folder, uri)
                before = upload.progress.offset
                if upload.advance():
                    return 0
                wait, since = EVERY, time.monotonic() if upload.progress.offset > before else since
            except RunDeleted as deleted:
                note(folder, deleted)
                return 1
            except Exception as error:
                note(folder, error)
                upload = None  # what it cached of MLflow may be outdated
                wait = min(LONGEST_WAIT, wait * 1.5)
                if trainer.has_gone() and time.monotonic() - max(since, trainer.gone_at) > LINGER:
                    return 1
                if trainer.has_gone():
                    wait = min(wait, 3.0)
            trainer.wait(wait)


def follow_family(parent: Path, uri: str) -> int:
    """Upload a run and its children until the process that started this one has exited and MLflow has all."""
    os.nice(10)
    conductor = Trainer()
    done: set[Path] = set()
    wait, since = EVERY, time.monotonic()
    while True:
        last_pass = conductor.has_gone()
        waiting = [
            each for each in family(parent) if each.run_dir not in done or (last_pass and not each.is_uploaded())
        ]
        troubled = [each for each in waiting if upload_once(each, uri) is not None]
        done |= {each.run_dir for each in waiting if each not in troubled and each.is_uploaded()}
        if last_pass and all(each.is_uploaded() for each in waiting):
            return 0
        if not troubled:
            wait, since = EVERY, time.monotonic()
        elif last_pass and time.monotonic() - max(since, conductor.gone_at) > LINGER:
            return 1
        else:
            wait = min(LONGEST_WAIT if not last_pass else 3.0, wait * 1.5)
        conductor.wait(wait)


def family(parent: Path) -> list[RunFolder]:
    """A run and those two folder levels below it, as in a sweep, the parent first."""
    journals = [parent / "journal" / "records.jsonl", *sorted(parent.glob("*/*/journal/records.jsonl"))]
    return [RunFolder(path.parent.parent) for path in journals if path.is_file()]


def upload_once(folder: RunFolder, uri: str) -> str | None:
    """Upload what a run has now, and return why that failed, in words, or None."""
    with folder.uploading(patience=PATIENCE) as mine:
        if not mine:
            return BUSY
        from lantu.tracking.run_upload import RunUpload

        try:
            RunUpload(folder, uri).advance()
        except Exception as error:
            return note(folder, error)
    return None


def note(folder: RunFolder, error: Exception) -> str:
    """Record why an attempt failed: in full in the log, as a sentence in shipped.json."""
    text = redact("".join(traceback.format_exception(error)))
    sentence = redact(f"{type(error).__name__}: {error}").split("\n")[0][:300]
    progress = folder.upload_progress()
    if progress.trouble != sentence:  # log a repeated error once
        with suppress(OSError), folder.log.open("a") as log:  # the disk may be full
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
    progress.trouble = sentence
    progress.failures += 1
    with suppress(OSError):
        folder.keep(progress)
    return sentence


class Trainer:
    """The process that started this one: standard input ends when it closes the pipe or dies."""

    def __init__(self) -> None:
        self.gone_at = 0.0

    def has_gone(self) -> bool:
        return self.gone_at > 0

    def wait(self, seconds: float) -> None:
        """Wait, but return as soon as the trainer exits."""
        if self.has_gone():
            time.sleep(min(seconds, 0.2) if seconds <= EVERY else seconds)
        elif select.select([sys.stdin], [], [], seconds)[0]:
            self.gone_at = time.monotonic()


if __name__ == "__main__":
    hide_table_libraries()
    sys.exit(main(sys.argv[1:]))
