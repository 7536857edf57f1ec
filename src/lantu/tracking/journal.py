"""The journal: JSON lines on local disk, each numbered, timed and checksummed.

    {"n":0,"t":1764000000000,"kind":"begin","format":"lantu-journal","version":1,"run":"...",...,"crc":"5f0c1a2b"}
    {"n":1,"t":1764000000123,"kind":"metrics","step":50,"values":{"train/loss":0.31},"crc":"..."}

`crc` is the CRC-32 of the line before `,"crc"`. A line that does not verify is skipped and counted; all others are
read. Numbers that JSON lacks are the strings "NaN", "Infinity" and
"-Infinity".
"""

import json
import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

from lantu.errors import UserError
from lantu.notices import warn_once

FORMAT = "lantu-journal"
VERSION = 1
HELD_LIMIT = 64 * 2**20  # bytes held in memory while the disk cannot be written
_SEAL = b',"crc":"'
_READ = 2**20

Record = dict[str, Any]


def encode(record: Record) -> bytes:
    """A record as one line."""
    try:
        text = _json(record)
    except ValueError:  # NaN and infinities
        text = _json(_spelled(record))
    body = text[:-1].encode()
    return b'%s,"crc":"%08x"}\n' % (body, crc32(body))


def decode(line: bytes) -> Record | None:
    """The record in a line; None when the line does not verify."""
    body, seal, check = line.rpartition(_SEAL)
    if not seal or check != b'%08x"}\n' % crc32(body):
        return None
    try:
        record = json.loads(body + b"}")
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class Journal:
    """Writes a journal. When `append` returns, the operating system has the record, so that SIGKILL loses nothing.

    After `flush` the records survive a failure of the machine, too. While the disk cannot be written (full,
    unplugged), lines are held in memory up to a limit and written as soon as it can.

    Raises:
        UserError: the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lost = 0
        self._lock = threading.Lock()
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._dirty = False
        self._number, self._time = 0, 0
        self._steps: set[int | None] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self._continue()
        except OSError as error:
            raise UserError(
                f"this run's journal cannot be written in {path.parent}: {error.strerror}. "
                "Choose another folder with `paths.store=DIR`, or go without a record with `logger=none`."
            ) from error

    def append(self, kind: str, *, step: int | None = None, t: int | None = None, **fields: Any) -> None:
        """Write a record.

        Args:
            t: wall time in milliseconds; None: now.
        """
        now = time.time_ns() // 1_000_000 if t is None else t
        with self._lock:
            record = {"n": self._number, "t": self._unique(now, step), "kind": kind}
            if step is not None:
                record["step"] = step
            record.update(fields)
            self._number += 1
            self._write(encode(record))

    def flush(self) -> None:
        """Sync all records to disk."""
        with self._lock:
            if self._held:
                self._retry()
            dirty, self._dirty = self._dirty, False
        if dirty:
            # outside the lock: a logging call must not wait for the disk
            try:
                os.fsync(self._fd)
            except OSError as error:
                warn_once(f"the journal {self.path} could not be brought to disk: {error.strerror}.")

    def close(self) -> None:
        self.flush()
        os.close(self._fd)
        if self._held:
            self.lost += len(self._held)
        if self.lost:
            warn_once(
                f"{self.lost} records of this run could not be written to {self.path} and are lost; "
                "all before them are kept."
            )

    def _unique(self, now: int, step: int | None) -> int:
        """A time that never decreases and differs between two records of one step.

        MLflow keeps one row per name, time, step and value: two equal values logged at one step within a
        millisecond would become one.
        """
        if now > self._time:
            self._time = now
            self._steps = {step}
        elif step in self._steps:
            self._time += 1
            self._steps = {step}
        else:
            self._steps.add(step)
        return self._time

    def _write(self, line: bytes) -> None:
        rest = line if self._held else self._put(line)
        if not rest:
            return
        if self._held_bytes + len(rest) > HELD_LIMIT:
            self.lost += 1
            return
        self._held.append(rest)
        self._held_bytes += len(rest)

    def _put(self, line: bytes) -> bytes:
        """Write a line, and return the part that could not be written."""
        self._dirty = True
        while line:
            try:
                line = line[os.write(self._fd, line) :]
            except OSError as error:
                warn_once(
                    f"the journal {self.path} takes no more records ({error.strerror}). Training goes on; "
                    f"what was written is kept, and up to {HELD_LIMIT >> 20} MiB wait in memory for room."
                )
                return line
        return b""

    def _retry(self) -> None:
        while self._held:
            line = self._held[0]
            rest = self._put(line)
            self._held_bytes -= len(line) - len(rest)
            if rest:
                self._held[0] = rest
                return
            self._held.popleft()

    def _continue(self) -> None:
        """Continue after the last whole record of an earlier process; a cut record becomes a line of its own."""
        size = os.fstat(self._fd).st_size
        if not size:
            return
        if os.pread(self._fd, 1, size - 1) != b"\n":
            os.write(self._fd, b"\n")
        record = last(self.path)
        if record is not None:
            self._number, self._time = record["n"] + 1, record["t"]


class Reader:
    """Reads a journal from a byte offset, also while another process writes it.

    Iterating gives `(offset after the record, record)` for every complete record.
    """

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self.damaged = 0

    def __iter__(self) -> Iterator[tuple[int, Record]]:
        with open(self.path, "rb", buffering=_READ) as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # still being written, or cut
                self.offset += len(line)
                record = decode(line)
                if record is not None:
                    yield self.offset, record
                elif line != b"\n":
                    self.damaged += 1


def head(path: Path) -> Record | None:
    """The first record, which describes the run; None if there is none."""
    for _, record in Reader(path):
        if record["kind"] == "begin":
            return record
    return None


def last(path: Path) -> Record | None:
    """The last whole record of a journal, read from its end; None when it has none."""
    with open(path, "rb") as file:
        size, block = file.seek(0, os.SEEK_END), _READ // 16
        while True:
            file.seek(-min(block, size), os.SEEK_END)
            for line in reversed(file.read().splitlines(keepends=True)):
                record = decode(line)
                if record is not None:
                    return record
            if block >= size:
                return None
            block *= 4


def last_steps(path: Path) -> dict[str, int]:
    """The last step at which each metric was recorded."""
    steps: dict[str, int] = {}
    for _, record in Reader(path):
        if record["kind"] == "metrics":
            for name in record["values"]:
                steps[name] = max(steps.get(name, -1), record["step"])
    return steps


_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _spelled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _spelled(each) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
