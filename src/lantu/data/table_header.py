"""Check, by the header of a table alone, that the columns that options name are there. Knows no torch."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lantu.errors import UserError
from lantu.suggestions import did_you_mean

COLUMNS = ("target", "ignore", "keep", "group", "time")
"""Options of `data` that name a column, or a list of them."""


def check_table(cfg: DictConfig) -> None:
    """Refuse columns that the table of a config does not have, seconds before its rows are read.

    Args:
        cfg: of a run; data other than a table of the user's own are passed over.

    Raises:
        UserError: there is no such column, or the file is no table.
    """
    if OmegaConf.select(cfg, "data._target_") != "lantu.data.TableDataModule":
        return
    options = {key: OmegaConf.select(cfg.data, key) for key in ("path", *COLUMNS)}
    check_columns({key: list(value) if OmegaConf.is_list(value) else value for key, value in options.items()})


def check_columns(options: dict[str, Any]) -> None:
    """Refuse a column that a table of the user's own does not have.

    Args:
        options: of `TableDataModule`; data without `path` are passed over.

    Raises:
        UserError: there is no such column, or the file is no table.
    """
    if not isinstance(options.get("path"), str):
        return
    path = Path(options["path"]).expanduser()
    names = _names_at(path, path.stat().st_mtime_ns) if path.exists() else column_names(path)
    for option in COLUMNS if names else ():
        value = options.get(option)
        for name in value if isinstance(value, list) else [value]:
            if isinstance(name, str | int | float) and str(name) not in names:
                raise UserError(no_column(f"data.{option}", str(name), names, path.name))


@lru_cache(maxsize=64)  # a sweep asks for each of its points
def _names_at(path: Path, changed: int) -> list[str]:
    return column_names(path)


def column_names(path: Path) -> list[str]:
    """The names of a table's columns; an empty list where its beginning does not tell them.

    Raises:
        UserError: the path is a folder, or the file is no table.
    """
    if path.is_dir():
        raise UserError(f"`data.path={path}` is a folder, and a table is a file: name one of the files in it.")
    ending = path.suffix.lower() if path.is_file() else ""
    if ending in (".csv", ".tsv"):
        from lantu.data.csv_dialect import find_dialect

        return [name or f"Unnamed: {place}" for place, name in enumerate(find_dialect(path).names)]
    if ending == ".parquet":
        import pyarrow.parquet as pq

        try:
            return [name.strip() for name in pq.read_schema(path).names]
        except (ValueError, OSError):
            return []  # damaged, of which the reader says more
    return []


def no_column(option: str, name: str, columns: list[str], where: str) -> str:
    """The sentence about a column that is not there."""
    shown = ", ".join(columns[:20]) + (", ..." if len(columns) > 20 else "")
    return f"`{option}={name}`: {where} has no such column.{did_you_mean(name, columns)} There are: {shown}."
