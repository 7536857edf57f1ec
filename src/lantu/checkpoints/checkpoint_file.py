"""Write checkpoints atomically and with a checksum, verify them when they are read, and survive a full disk."""

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
"""The checkpoint before the last, in case the last is damaged."""

_END = b"PK\x05\x06"  # start of a zip archive's end record: 22 bytes, the last two the length of the comment
_MARK = b"lantu crc32 "
_COMMENT = len(_MARK) + 8
_PIECE = 1 << 20


class CheckedFiles(TorchCheckpointIO):
    """Write checkpoints to a temporary file that is renamed when it is on disk; verify the checksum when reading.

    torch verifies no checksums. The CRC-32 of all bytes is therefore stored in the comment at the end of the zip
    archive, where other programs ignore it. If a checkpoint cannot be written, the earlier one is kept and training
    goes on.

    A thread writes one checkpoint at a time: `save_checkpoint` waits for the one before and returns once the weights
    are copied, so that there is at most one copy in memory. Errors other than of the disk are raised by the next call.
    Lightning's AsyncCheckpointIO copies on the device, has an unbounded queue, and does not track the files.

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
        """Start writing a checkpoint."""
        self.wait()
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        self._thread = self._thread or ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._writing = self._thread.submit(self._put, _copied(checkpoint), Path(path))

    def wait(self) -> None:
        """Wait until the checkpoint in progress is written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def refused(self, path: Path) -> bool:
        """Whether writing the last checkpoint of that name failed."""
        self.wait()
        return path in self._refused

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint, after the one in progress is written."""
        self.wait()
        super().remove_checkpoint(path)

    def teardown(self) -> None:
        """Finish writing, and end the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()
        self.wait()

    def _put(self, checkpoint: dict[str, Any], place: Path) -> None:
        """Write a checkpoint; if that fails, warn and keep the one before."""
        part = place.with_name(f"{place.name}.part")
        self._refused.discard(place)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_checkpoint(checkpoint, part)
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
            with suppress(OSError):  # the disk may refuse this, too
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
    """Make a trainer write its checkpoints with `CheckedFiles`, unless it has a checkpoint plugin of its own."""
    if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
        trainer.strategy.checkpoint_io = CheckedFiles(keep=keep)


def settled(trainer: Trainer, path: Path) -> bool:
    """Wait until a checkpoint is on disk; False if writing it failed."""
    files = trainer.strategy.checkpoint_io
    return not (isinstance(files, CheckedFiles) and files.refused(path))


def folder_without_any(trainer: Trainer) -> Path | None:
    """The folder of checkpoints where none of a run could be written; None if there is one, or none was to be."""
    files = trainer.strategy.checkpoint_io
    if not isinstance(files, CheckedFiles):
        return None
    files.wait()
    folders = {place.parent for place in files._refused}
    return next((each for each in folders if not any(each.glob("*.ckpt"))), None)


def is_last(path: Path, *, but: int = 0) -> bool:
    """Whether a file is `last.ckpt` or `last-N.ckpt`; with `but=1` only the latter."""
    return path.suffix == ".ckpt" and (path.name.startswith("last-") or (path.name == LAST and not but))


def refuse_damaged(path: Path) -> None:
    """Verify a checkpoint's checksum.

    Raises:
        UserError: it does not match, or the path is a folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a checkpoint.")
    reason = _damage(path)
    if reason is not None:
        raise UserError(f"{path} cannot be read as a checkpoint, it is damaged: {reason}.")


def _damage(path: Path) -> str | None:
    """What is wrong with a file; None if nothing is, or if only torch can tell."""
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
    try:  # written by other programs, or by Lantu before it stored checksums
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except Exception as error:  # zipfile raises many types for a damaged archive
        return str(error)
    return broken and f"the bytes of {broken} are not what their sum says"


def write_checkpoint(checkpoint: dict[str, Any], part: Path) -> None:
    """Write a checkpoint and its checksum, and sync them to disk."""
    with part.open("w+b") as file:
        counted = _Counted(file)
        torch.save(checkpoint, counted)  # type: ignore[arg-type]  # it uses `write` and `flush` only
        if counted.error is not None:
            raise counted.error
        file.seek(-2, os.SEEK_END)
        file.write(struct.pack("<H", _COMMENT) + _comment(counted.sum))
        file.flush()
        os.fsync(file.fileno())


class _Counted:
    """A file that computes the CRC-32 of what is written, and defers errors: torch's writer aborts on them."""

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
        """Required by torch; the file is flushed once, at the end."""


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
    """Rename `last.ckpt` to `last-1.ckpt` and so on; remove those beyond `keep`."""
    for number in range(keep - 1, 1, -1):
        newer = last.with_name(f"last-{number - 1}.ckpt")
        if newer.is_file():
            os.replace(newer, last.with_name(f"last-{number}.ckpt"))
    if keep > 1 and last.is_file():
        second = last.with_name(PREVIOUS)
        second.unlink(missing_ok=True)
        try:
            os.link(last, second)  # a link, so that `last.ckpt` exists at every moment
        except OSError:  # not every file system has links
            os.replace(last, second)
    for old in last.parent.glob("last-*.ckpt"):
        place = old.stem.removeprefix("last-")
        if place.isdigit() and int(place) >= keep:
            old.unlink()


def _copied(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """A copy on the CPU that training does not change; tensors that share memory share it in the copy."""
    copies: dict[Any, Tensor] = {}

    def copy(tensor: Tensor) -> Tensor:
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype) if tensor.numel() else id(tensor)
        if key not in copies:
            copies[key] = tensor.detach().to("cpu", copy=True)
        return copies[key]

    def copy_part(part: Any) -> Any:
        if type(part) is dict:
            return {name: copy_part(each) for name, each in part.items()}
        if type(part) is list:
            return [copy_part(each) for each in part]
        if part is None or type(part) in (bool, int, float, str):  # nearly all: the config is in every checkpoint
            return part
        return apply_to_collection(part, Tensor, copy)

    copied: dict[str, Any] = copy_part(checkpoint)
    return copied


def _settle(folder: Path) -> None:
    """Sync a folder's entries to disk, where the system supports it."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
