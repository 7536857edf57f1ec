"""What `evaluate` and `predict` are asked for must be there; looked for before anything heavy is imported."""

from pathlib import Path

from omegaconf import DictConfig

from lantu.config.output_paths import check_file_to_write
from lantu.errors import UserError
from lantu.extras import require
from lantu.table_files import ENDINGS
from lantu.tracking.find import look_for_checkpoint

SPLITS = ("test", "val")
RAY = "ray"
"""The word for workers of a Ray cluster."""
NOT_WRITTEN = (".xls", ".xlsx", ".ods", ".tsv", ".txt")
"""Endings that are refused before a model is loaded. Of others the task knows which it writes."""


def validate_arguments(cfg: DictConfig) -> None:
    """Raise a `UserError` for the first thing that a command names and that is not there."""
    if "split" in cfg:
        check_split(cfg.split)
    if "input" in cfg:
        check_input(cfg.input)
    if "prompt" in cfg:
        check_input(cfg.gallery, option="gallery")
        check_output(cfg.output)
        check_workers(cfg.workers, cfg.rows_at_once)
    look_for_checkpoint(str(cfg.run), store=Path(cfg.paths.store), tracking_uri=cfg.paths.tracking_uri)


def check_split(split: str) -> None:
    """Raise a `UserError` unless it is one of `SPLITS`."""
    if split not in SPLITS:
        raise UserError(f"`split={split}`: the splits are {' and '.join(SPLITS)}.")


def check_input(path: str | None, *, option: str = "input") -> None:
    """Raise a `UserError` unless the file or folder is there, or none is named."""
    if path is not None and not Path(path).expanduser().exists():
        raise UserError(f"`{option}={path}`: there is no such file or folder.")


def check_output(output: str | None) -> None:
    """Raise a `UserError` if the file's ending names no format, or its folder is not there."""
    if output is not None and Path(output).suffix in NOT_WRITTEN:
        check_ending(output, ENDINGS)
    if output is not None and not Path(output).expanduser().is_dir():  # images are written to a folder
        check_file_to_write("output", output)


def check_workers(workers: int | str, rows_at_once: int | None) -> None:
    """Raise a `UserError` for workers that are no number and not `ray`, that miss a package, or have no parts."""
    if workers != RAY and not (isinstance(workers, int) and workers >= 1):
        raise UserError(f"`workers={workers}`: a number of processes, at least 1, or `{RAY}` for a Ray cluster.")
    if workers == RAY:
        require("ray", f"workers={RAY}", "ray")
    if workers != 1 and rows_at_once is None:
        raise UserError(f"`workers={workers}` share the parts of a table: add `rows_at_once=100000`, rows of a part.")


def check_ending(output: str | None, endings: tuple[str, ...]) -> None:
    """Raise a `UserError` unless a file's ending is one of those that the task writes, or none is named."""
    if output is not None and Path(output).suffix not in endings:
        raise UserError(f"`output={output}`: the ending says the format, and must be one of {', '.join(endings)}.")
