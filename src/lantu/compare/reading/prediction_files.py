"""Stored predictions of runs: from the run's folder where that is on this machine, else from its artifacts."""

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd

from lantu.compare.reading.run_frames import Runs
from lantu.errors import UserError
from lantu.foreign_json import parse_json
from lantu.prediction_file import CHECKSUM, FOLDER
from lantu.prediction_file import read_predictions as read_file
from lantu.tracking.artifacts import artifacts_of, download
from lantu.tracking.mlflow_client import open_mlflow
from lantu.tracking.run_folder import RunFolder

MOST_BYTES = 200_000_000
"""Files beyond this size are left out: what a run stores is far smaller."""


MOST_ROWS = 100_000
"""Of a file, unless `callbacks.predictions.most_rows` says otherwise."""
ONE_ROW_EACH = ("rows", "images", "texts", "recordings")
"""Units of data of which each has a row of its own in the file."""


def read_predictions(
    runs: Runs, groups: pd.Series, wanted: Iterable[str], *, split: str, tracking_uri: str | None, most: int = 10
) -> tuple[dict[str, dict[str, pd.DataFrame]], list[str]]:
    """Predictions by group and run id, for groups whose every counted run has stored some.

    Beside them a sentence for each file that is damaged or was changed: its group has none then.

    Args:
        runs: the runs.
        groups: label by run.
        wanted: the groups that are looked at.
        split: "val" or "test".
        tracking_uri: where artifacts are; None: only folders on this machine are looked at.
        most: runs of a group that are read.
    """
    found: dict[str, dict[str, pd.DataFrame]] = {}
    damaged: list[str] = []
    for label in wanted:
        ids = [str(run) for run in groups.index[groups == label] if pd.notna(runs.score[run])][:most]
        parts: dict[str, pd.DataFrame] = {}
        for run in ids:
            try:
                frame = _of_run(run, _folder(runs, run), split, tracking_uri)
            except UserError as error:
                damaged.append(str(error))
                continue
            if frame is not None:
                parts[run] = frame
        if parts and len(parts) == len(ids):
            found[str(label)] = parts
    return found, damaged


def _complete(frame: pd.DataFrame, folder: Path, split: str) -> pd.DataFrame:
    """Refuse a file without a checksum, as other programs write it, that has fewer rows than the run measured.

    Raises:
        UserError: rows are missing, or there are more than the run had.
    """
    if CHECKSUM in frame.attrs:
        return frame
    try:
        record = parse_json((folder / "data.json").read_text(encoding="utf-8"))
        measured = record["sizes"][split] if record["unit"] in ONE_ROW_EACH else len(frame)
    except (OSError, ValueError, KeyError, TypeError):  # a run from before this record
        return frame
    if isinstance(measured, int) and not min(measured, MOST_ROWS) <= len(frame) <= measured:
        raise UserError(
            f"{folder / FOLDER / split}.parquet cannot be used: it has {len(frame):,} rows and no checksum, and the "
            f"run measured {measured:,} {record['unit']}."
        )
    return frame


def _folder(runs: Runs, run: str) -> Path | None:
    column: Mapping[str, object] = runs.tags.get("lantu.run_dir", {})
    named = column.get(run) if len(column) else None
    return Path(str(named)) if isinstance(named, str) else None


def _of_run(run: str, folder: Path | None, split: str, tracking_uri: str | None) -> pd.DataFrame | None:
    name = f"{split}.parquet"
    if folder is not None and urlsplit(tracking_uri or "").scheme in ("http", "https"):
        # a server could name any folder of this machine
        folder = folder if RunFolder(folder).upload_progress().run_id == run else None
    if folder is not None and (folder / FOLDER / name).is_file():
        return _complete(read_file(folder / FOLDER / name), folder, split)
    if tracking_uri is None or (folder is not None and folder.is_dir()):
        return None
    from mlflow.exceptions import MlflowException

    client = open_mlflow(tracking_uri)
    try:
        there = [each for each in artifacts_of(client, run, FOLDER) if each.path == f"{FOLDER}/{name}"]
        if not there or (there[0].file_size or 0) > MOST_BYTES:
            return None
        with tempfile.TemporaryDirectory() as place:
            return read_file(download(client, run, there[0], place))
    except (MlflowException, OSError):
        return None
