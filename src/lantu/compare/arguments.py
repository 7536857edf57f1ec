"""Check the files that a comparison is going to write, before runs are read or anything heavy is imported."""

from pathlib import Path

from omegaconf import DictConfig

from lantu.config.output_paths import check_file_to_write
from lantu.errors import UserError

TABLES = (".csv", ".parquet", ".json", ".md", ".tex")
"""The endings of files that the table can be written to."""


def check_files(cfg: DictConfig) -> None:
    """Raise a `UserError` for the first file that cannot be written."""
    if cfg.table:
        check_file_to_write("table", str(cfg.table), makes_folder=True)
        if Path(cfg.table).suffix not in TABLES:
            raise UserError(
                f"`table={cfg.table}`: a table can be written as {', '.join(TABLES)}; the ending says which."
            )
    if cfg.report:
        check_file_to_write("report", str(cfg.report), ending=".html", makes_folder=True)
