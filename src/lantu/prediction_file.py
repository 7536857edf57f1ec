"""The file in which a run keeps what it answered for each example: Parquet, with checksums.

What decides between two models is read from it, so a file that is damaged or was changed afterwards is refused. Its
pages have the checksums of the format, and its content has one of ours, since most programs that write Parquet leave
the former out.
"""

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from lantu.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "predictions"
"""In a run's folder and among its artifacts."""
CHECKSUM = "lantu.checksum"
"""The attribute of the table with the checksum of its content."""
NUMBERS = ("loss", "probability", "score")
"""Columns that hold numbers, whatever the task."""


def write_predictions(frame: "pd.DataFrame", path: Path) -> None:
    """Write a table of predictions, a row for each example.

    Raises:
        OSError: the file cannot be written.
    """
    kept = frame.reset_index(drop=True)
    kept.attrs = {**frame.attrs, CHECKSUM: _checksum(kept)}
    kept.to_parquet(path, index=False, compression="zstd", write_page_checksum=True)


def read_predictions(path: Path) -> "pd.DataFrame":
    """Read a table of predictions.

    Raises:
        UserError: the file is damaged or was changed, or its columns cannot be those of predictions.
    """
    import pandas as pd

    try:
        frame = pd.read_parquet(path, engine="pyarrow", page_checksum_verification=True)
        known = frame.attrs.get(CHECKSUM)
        wrong = _what_is_wrong(frame)
        if wrong is None and known is not None and known != _checksum(frame):
            wrong = "it was changed after the run"
    except Exception as error:  # damaged metadata bring errors of many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].replace(f" '{path}'", "")
        raise UserError(f"{path} is damaged: {reason.split('. ')[0].rstrip('.')[:200]}.") from error
    if wrong is not None:
        raise UserError(f"{path} cannot be used: {wrong}.")
    return frame


def _what_is_wrong(frame: "pd.DataFrame") -> str | None:
    from pandas.api.types import is_integer_dtype, is_numeric_dtype

    for name in NUMBERS:
        if name in frame and not is_numeric_dtype(frame[name]):
            return f"its column `{name}` holds other things than numbers"
    both = {"target", "prediction"} <= {*frame} and is_numeric_dtype(frame["prediction"])
    if both and frame["target"].notna().any() and not is_numeric_dtype(frame["target"]):
        return "its columns `target` and `prediction` hold things of different kinds"
    if "row" in frame and not (is_integer_dtype(frame["row"]) and frame["row"].is_unique):
        return "its column `row` does not number the examples"
    return None


def _checksum(frame: "pd.DataFrame") -> str:
    import xxhash

    digest = xxhash.xxh3_128()
    for name in sorted(map(str, frame)):
        column = frame[name]
        digest.update(f"\0{name}\0{len(column)}\0".encode())
        if column.dtype.kind in "biuf":
            digest.update(column.to_numpy().tobytes())
        else:
            digest.update("\0".join(map(_as_text, column)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _as_text(value: object) -> str:
    """A value as it reads before and after a file, from which None comes back as NaN, and nested values as others."""
    is_nan = isinstance(value, float) and isnan(value)
    return str(value) if isinstance(value, str | int | float) and not is_nan else ""
