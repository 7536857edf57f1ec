"""A queue of artifacts to upload: copies in a folder.

Each has a ticket, `<number>.json`, which is written once the copy is complete and removed after the upload. So a
crash in between repeats an upload and never skips one.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lantu.errors import UserError
from lantu.notices import warn_once
from lantu.redaction import redact

_TEXT = {
    ".yaml",
    ".yml",
    ".json",
    ".txt",
    ".diff",
    ".patch",
    ".toml",
    ".cfg",
    ".ini",
    ".env",
    ".log",
    ".sh",
    ".md",
}
_TEXT_LIMIT = 2**23


@dataclass(frozen=True)
class Ticket:
    """One file or folder to upload."""

    path: Path
    copy: Path
    """The copy in the spool, under its own name."""
    to: str | None
    """The folder among the run's artifacts; None: the top."""

    def done(self) -> None:
        """Remove it from the queue after the upload."""
        self.path.unlink(missing_ok=True)
        shutil.rmtree(self.copy.parent, ignore_errors=True)


class Spool:
    """A folder of artifacts to upload, in order of arrival."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, local: Path, to: str | None) -> None:
        """Copy a file or folder; the copy is on disk when this returns.

        Small text files are copied without the credentials in them.
        """
        check_artifact_path(to)
        number = f"{time.time_ns():020d}"
        copy = self.path / number / local.name
        copy.parent.mkdir(parents=True)
        with _removed_unless_whole(copy.parent):
            if local.is_dir():
                shutil.copytree(local, copy, copy_function=_copy)
            else:
                _copy(str(local), str(copy))
            self._issue(number, copy, to)

    def put_text(self, text: str, name: str, to: str | None) -> None:
        """Keep a text as an artifact."""
        check_artifact_path(to)
        check_artifact_path(name)
        number = f"{time.time_ns():020d}"
        copy = self.path / number / name
        copy.parent.mkdir(parents=True)
        with _removed_unless_whole(copy.parent):
            copy.write_text(text, encoding="utf-8")
            self._issue(number, copy, to)

    def tickets(self) -> Iterator[Ticket]:
        """The artifacts to upload, oldest first, without those that an uploader removes meanwhile."""
        if self.path.is_dir():
            for path in sorted(self.path.glob("*.json")):
                try:
                    ticket = self._ticket(path, json.loads(path.read_text()))
                except (OSError, ValueError, RecursionError):
                    ticket = None
                if ticket is None and not path.exists():
                    continue  # it was uploaded meanwhile
                if ticket is None:
                    warn_once(f"the ticket {path} is damaged or names something outside its folder: it is passed over.")
                else:
                    yield ticket

    def _ticket(self, path: Path, content: Any) -> Ticket | None:
        """The file that a ticket names; None unless it is a plain file or folder of this spool, and no link."""
        if not isinstance(content, dict) or not path.stem.isdigit():
            return None
        name, to = content.get("name"), content.get("to")
        if not isinstance(name, str) or not _is_plain(name) or "/" in name:
            return None
        if to is not None and not (isinstance(to, str) and _is_plain(to)):
            return None
        copy = self.path / path.stem / name
        if any(each.is_symlink() for each in (path, copy.parent, copy)) or not copy.exists():
            return None
        if copy.is_dir() and any(each.is_symlink() for each in copy.rglob("*")):
            return None
        return Ticket(path, copy, to)

    def size(self) -> int:
        """Bytes to upload, plus one for each ticket, since a file may be empty."""
        return sum(1 + _size(ticket.copy) for ticket in self.tickets())

    def _issue(self, number: str, copy: Path, to: str | None) -> None:
        for file in [copy, *copy.rglob("*")] if copy.is_dir() else [copy]:
            _sync(file)
        draft = self.path / f"{number}.draft"
        try:
            draft.write_text(json.dumps({"name": copy.name, "to": to}))
            _sync(draft)
            os.replace(draft, self.path / f"{number}.json")
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        _sync(self.path)


@contextmanager
def _removed_unless_whole(folder: Path) -> Iterator[None]:
    """Remove the folder of a copy that could not be made, so that a full disk is not fuller for it."""
    try:
        yield
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def check_artifact_path(path: str | None) -> None:
    """Refuse an artifact path that leads out of the run's artifacts.

    Raises:
        UserError: it is absolute, or goes up.
    """
    if path is not None and not _is_plain(path):
        raise UserError(f"the artifact path {path!r} is no relative path below the run's artifacts.")


def _is_plain(path: str) -> bool:
    parts = path.split("/")
    return path.isprintable() and "\\" not in path and all(part not in ("", ".", "..") for part in parts)


def _copy(source: str, target: str) -> str:
    path = Path(source)
    if path.suffix in _TEXT and path.stat().st_size <= _TEXT_LIMIT:
        try:
            Path(target).write_text(redact(path.read_text(encoding="utf-8")), encoding="utf-8")
        except UnicodeDecodeError:
            shutil.copy2(source, target)
    else:
        shutil.copy2(source, target)
    return target


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 if it has just been removed."""
    total = 0
    with suppress(FileNotFoundError):
        for each in path.rglob("*") if path.is_dir() else [path]:
            total += each.stat().st_size if each.is_file() else 0
    return total


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
