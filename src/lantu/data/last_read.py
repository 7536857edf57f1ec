"""Keep what was last read in this process, for a run over the same files with the same options.

The trials of a sweep seldom differ in their data. What reading found is pickled, and its arrays are kept beside it:
each data module gets a state of its own over the same arrays, which nobody changes.
"""

import io
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import Tensor

if TYPE_CHECKING:
    from lantu.data.data_module import DataModule

MOST_BYTES = 2**28
"""Larger data are not kept. Arrays that are mapped from a file do not count."""
LATER = ("batch_size", "workers")
"""Options that reading does not depend on."""
UNPICKLABLE = (pickle.PicklingError, AttributeError, TypeError)


@dataclass(frozen=True)
class Key:
    """What reading depends on: the kind of data, their options, and the versions of their files."""

    kind: type
    options: bytes
    files: tuple[tuple[str, int, int, int], ...]
    """The path, the size, the time of the last change and the inode of each."""

    @classmethod
    def of(cls, data: "DataModule") -> "Key | None":
        """The key of a data module before it reads; None: what reading depends on is not known."""
        files = data.files_read() if type(data).__module__.startswith("lantu.") else None
        if files is None:
            return None
        try:
            return cls(type(data), _Pickler(data).dumped(), tuple(map(_version, files)))
        except (OSError, *UNPICKLABLE):
            return None  # such as for a file that is not there


_kept: dict[Key, tuple[bytes, list[Any], set[Any]]] = {}
"""The state after reading, its arrays, and the versions of the files that they are mapped from; of one key at most."""


def recall(data: "DataModule", key: Key | None) -> bool:
    """Give a data module what was last read, if that was under this key; otherwise forget it, which makes room."""
    found = _kept.get(key) if key is not None else None
    if found is None or _mapped_files(found[1]) != found[2]:
        _kept.clear()
        return False
    state, arrays, _ = found
    data.__dict__.update(_Unpickler(state, data, arrays).load())
    return True


def keep(data: "DataModule", key: Key | None) -> None:
    """Keep what a data module has read, unless it is large or its files changed meanwhile."""
    if key is None or tuple(map(_version, data.files_read() or [])) != key.files:
        return
    arrays: list[Any] = []
    try:
        state = _Pickler(data, arrays).dumped()
    except UNPICKLABLE:
        return
    if len(state) + sum(map(_size, arrays)) <= MOST_BYTES:
        _kept[key] = state, arrays, _mapped_files(arrays)


class _Pickler(pickle.Pickler):
    """Pickles the attributes of a data module; with `arrays`, those are appended there and not copied."""

    def __init__(self, data: "DataModule", arrays: list[Any] | None = None) -> None:
        self._buffer = io.BytesIO()
        super().__init__(self._buffer, protocol=pickle.HIGHEST_PROTOCOL)
        self._data, self._arrays = data, arrays
        self._places: dict[int, int] = {}

    def dumped(self) -> bytes:
        self.dump({name: value for name, value in vars(self._data).items() if name not in LATER})
        return self._buffer.getvalue()

    def persistent_id(self, part: Any) -> Any:
        if part is self._data:
            return -1
        if self._arrays is None or not isinstance(part, Tensor | np.ndarray | pd.DataFrame | pd.Series):
            return None
        if id(part) not in self._places:
            self._places[id(part)] = len(self._arrays)
            self._arrays.append(part)
        return self._places[id(part)]


class _Unpickler(pickle.Unpickler):
    def __init__(self, state: bytes, data: "DataModule", arrays: list[Any]) -> None:
        super().__init__(io.BytesIO(state))
        self._data, self._arrays = data, arrays

    def persistent_load(self, place: int) -> Any:
        return self._data if place < 0 else self._arrays[place]


def _version(file: Path) -> tuple[str, int, int, int]:
    found = file.stat()
    return os.path.abspath(file), found.st_size, found.st_mtime_ns, found.st_ino


def _mapped_files(arrays: list[Any]) -> set[Any]:
    """The versions of the cache files behind arrays; None for one that is gone."""
    files = {str(each.filename) for each in arrays if isinstance(each, np.memmap)}
    return {_version(Path(file)) if os.path.isfile(file) else None for file in files}


def _size(array: Any) -> int:
    """Bytes of memory that an array or a frame takes."""
    if isinstance(array, pd.DataFrame):
        return int(array.memory_usage(deep=True).sum())
    if isinstance(array, pd.Series):
        return int(array.memory_usage(deep=True))
    return 0 if isinstance(array, np.memmap) else int(array.nbytes)
