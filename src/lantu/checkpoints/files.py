"""Checkpoint files that are whole or not there, that prove it when they are read, and that a full disk cannot take."""

import os
import struct
import zipfile
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from pytorch_lightning import Trainer
from pytorch_lightning.plugins import TorchCheckpointIO
from torch import Tensor

from lantu.errors import UserError
from lantu.notices import warn_once

LAST = "last.ckpt"
PREVIOUS = "last-1.ckpt"
"""The last checkpoint but one, for when the last one is damaged."""

_END = b"PK\x05\x06"  # begins a zip archive's end, 22 bytes whose last two say how long a comment follows
_MARK = b"lantu crc32 "
_COMMENT = len(_MARK) + 8
_PIECE = 1 << 20


class CheckedFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place, and puts it there when all of it is on the disk; reads only whole ones.

    torch checks no sums when it reads. The sum of all bytes therefore goes into the comment that every zip archive may
    end with: other programs read the file as before, and file and sum cannot part. Where the disk refuses a
    checkpoint, what was there stays and training goes on.

    A thread writes, one checkpoint at a time: `save_checkpoint` returns when the weights are copied, and waits for the
    one before, so that there is never more than one copy. Errors other than the disk's are raised by the next call.
    Lightning's AsyncCheckpointIO copies on the device, queues without bound, and forgets which files it wraps.

    Args:
        keep: how many of `last.ckpt`, `last-1.ckpt`, ... are kept when a newer `last.ckpt` takes its place.
    """

    def __init__(self, *, keep: int = 2) -> None:
        super().__init__()
        self.keep = keep
        self._thread: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None
        self._refused: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Begin to write a checkpoint."""
        self.wait()
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        self._thread = self._thread or ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing = self._thread.submit(self._put, _copied(checkpoint), Path(path))

    def wait(self) -> None:
        """Return when what was begun is written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def refused(self, path: Path) -> bool:
        """Whether the disk did not take the last checkpoint of that name."""
        self.wait()
        return path in self._refused

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint, after those that are being written."""
        self.wait()
        super().remove_checkpoint(path)

    def teardown(self) -> None:
        """Write to the end, and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()
        self.wait()

    def _put(self, checkpoint: dict[str, Any], place: Path) -> None:
        """Write a checkpoint; say so and keep the one before where that cannot be done."""
        part = place.with_name(f"{place.name}.part")
        self._refused.discard(place)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _write(checkpoint, part)
            if place.name == LAST:
                _make_room(place, self.keep)
            os.replace(part, place)
            _settle(place.parent)
        except OSError as error:
            self._refused.add(place)
            reason = error.strerror or type(error).__name__
            before = "the one before is kept and" if place.is_file() else "there is none before it;"
            warn_once(f"the checkpoint {place} could not be written: {reason}; {before} training goes on.")
        finally:
            with suppress(OSError):  # the disk may not even take that
                part.unlink(missing_ok=True)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            UserError: the file is damaged.
        """
        self.wait()
        if "://" not in str(path) and Path(path).is_file():
            refuse_damaged(Path(path))
        return super().load_checkpoint(path, map_location, weights_only)


def write_checked(trainer: Trainer, *, keep: int = 2) -> None:
    """Let a trainer keep its checkpoints in such files, unless it was told to keep them in a way of its own."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = CheckedFiles(keep=keep)


def settled(trainer: Trainer, path: Path) -> bool:
    """Wait until a checkpoint that was begun is on the disk; False where the disk refused it."""
    files = trainer.strategy.checkpoint_io
    return not (isinstance(files, CheckedFiles) and files.refused(path))


def is_last(path: Path, *, but: int = 0) -> bool:
    """Whether a file is `last.ckpt` or one of those before it; with `but=1` only one of those before."""
    return path.suffix == ".ckpt" and (path.name.startswith("last-") or (path.name == LAST and not but))


def refuse_damaged(path: Path) -> None:
    """Read a checkpoint's bytes and compare them with their sum.

    Raises:
        UserError: they differ, or the path is a folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a checkpoint.")
    reason = _damage(path)
    if reason is not None:
        raise UserError(f"{path} cannot be read as a checkpoint, it is damaged: {reason}.")


def _damage(path: Path) -> str | None:
    """What is wrong with a file; None: nothing, or it is of a form that only torch can judge."""
    size = path.stat().st_size
    with path.open("rb") as file:
        begins = file.read(2)
        file.seek(max(0, size - _COMMENT - 22))
        end = file.read()
        if end[:4] == _END and end[22:].startswith(_MARK):
            if end[20:22] != struct.pack("<H", _COMMENT):
                return "its end is not as it was written"
            file.seek(0)
            found = zlib.crc32(bytes(2), _sum(file, size - _COMMENT - 2))  # torch had written: a comment of length 0
            return None if _comment(found) == end[22:] else "its bytes are not what their sum says"
    if end[-22:-18] != _END or end[-2:] != bytes(2):
        return "its end is not as it was written" if begins == b"PK" else None
    try:  # written by other programs, or by Lantu before it kept sums
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except Exception as error:  # zipfile raises many kinds for an archive whose directory is damaged
        return str(error)
    return broken and f"the bytes of {broken} are not what their sum says"


def _write(checkpoint: dict[str, Any], part: Path) -> None:
    """Write a checkpoint and its sum, and wait until they are on the disk."""
    with part.open("w+b") as file:
        counted = _Counted(file)
        torch.save(checkpoint, counted)  # type: ignore[arg-type]  # all that it asks for is `write` and `flush`
        if counted.error is not None:
            raise counted.error
        file.seek(-2, os.SEEK_END)
        file.write(struct.pack("<H", _COMMENT) + _comment(counted.sum))
        file.flush()
        os.fsync(file.fileno())


class _Counted:
    """A file to write to that sums what it is given, and keeps an error for later: torch's writer is not to meet it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sum = 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        piece = bytes(data)
        if self.error is None:
            try:
                self._file.write(piece)
            except OSError as error:
                self.error = error
        self.sum = zlib.crc32(piece, self.sum)
        return len(piece)

    def flush(self) -> None:
        """torch asks for it; the file is flushed once, at its end."""


def _sum(file: IO[bytes], length: int) -> int:
    found = 0
    while length > 0:
        piece = file.read(min(length, _PIECE))
        if not piece:
            break
        found, length = zlib.crc32(piece, found), length - len(piece)
    return found


def _comment(crc: int) -> bytes:
    return _MARK + b"%08x" % crc


def _make_room(last: Path, keep: int) -> None:
    """Let each of the last checkpoints take the place of the one before it; those beyond `keep` go."""
    for number in range(keep - 1, 1, -1):
        newer = last.with_name(f"last-{number - 1}.ckpt")
        if newer.is_file():
            os.replace(newer, last.with_name(f"last-{number}.ckpt"))
    if keep > 1 and last.is_file():
        second = last.with_name(PREVIOUS)
        second.unlink(missing_ok=True)
        try:
            os.link(last, second)  # so that there is a last one at every moment
        except OSError:  # not every file system has links
            os.replace(last, second)
    for old in last.parent.glob("last-*.ckpt"):
        place = old.stem.removeprefix("last-")
        if place.isdigit() and int(place) >= keep:
            old.unlink()


def _copied(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A copy in memory that training does not write to; tensors that share their values still do."""
    copies: dict[Any, Tensor] = {}

    def copy(tensor: Tensor) -> Tensor:
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else id(tensor)
        if key not in copies:
            copies[key] = tensor.detach().to("cpu", copy=True)
        return copies[key]

    copied: dict[str, Any] = apply_to_collection(checkpoint, Tensor, copy)
    return copied


def _settle(folder: Path) -> None:
    """Wait until a folder's new names are on the disk, where the system can do that."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
