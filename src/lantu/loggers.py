"""Hand metrics, tags, tables, figures and files to those of a trainer's loggers that can keep them.

Lightning's loggers have `log_metrics` in common and little else. What a logger cannot keep is on disk anyway.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def log_metrics(trainer: Any, values: Mapping[str, float], *, step: int) -> None:
    """Give numbers to every logger; on rank zero only."""
    if trainer.is_global_zero and values:
        for logger in trainer.loggers:
            logger.log_metrics(dict(values), step=step)


def log_tags(trainer: Any, tags: Mapping[str, Any]) -> None:
    """Give tags to every logger that has them; on rank zero only."""
    _call(trainer, "log_tags", tags)


def log_artifact(trainer: Any, path: Path, folder: str | None = None) -> None:
    """Give a file or folder to every logger that keeps files; on rank zero only.

    Args:
        folder: among the run's artifacts; None: the top.
    """
    _call(trainer, "log_artifact", path, *([] if folder is None else [folder]))


def log_table(trainer: Any, table: Mapping[str, Sequence[Any]], file: str) -> None:
    """Give columns of equal length to every logger that keeps tables as ours does; on rank zero only.

    Args:
        file: among the run's artifacts, such as "tables/answers.json".
    """
    # other libraries' loggers have a method of the same name and another meaning
    _call(trainer, "log_table", table, file, having="keeps_tables")


def log_figure(trainer: Any, figure: Any, name: str, *, folder: str = "figures") -> Path:
    """Write a figure to FOLDER/NAME.png in the run's folder and hand it over; on rank zero only.

    Args:
        figure: of matplotlib (`savefig`) or a picture of Pillow (`save`).

    Returns:
        The file.
    """
    path = Path(trainer.default_root_dir) / folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    if hasattr(figure, "savefig"):
        _draw_once(figure, path)
    else:
        figure.save(path)
    log_artifact(trainer, path, folder)
    return path


def _draw_once(figure: Any, path: Path) -> None:
    """Write the same bytes as `savefig`, which draws a figure twice: first to measure what it may have to crop."""
    from matplotlib import rcParams, rcParamsDefault
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if any(rcParams[name] != rcParamsDefault[name] for name in rcParams if name.startswith("savefig.")):
        figure.savefig(path)  # as the user's style asks
    else:
        FigureCanvasAgg(figure).print_png(path)


def log_sound(trainer: Any, sound: Any, name: str, *, folder: str = "samples") -> Path:
    """Write a recording to FOLDER/NAME.flac in the run's folder and hand it over; on rank zero only.

    Args:
        sound: has `wave` (samples,) and `rate`.

    Returns:
        The file.
    """
    import soundfile

    path = Path(trainer.default_root_dir) / folder / f"{name}.flac"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound.wave, sound.rate)
    log_artifact(trainer, path, folder)
    return path


def _call(trainer: Any, method: str, *args: Any, having: str | None = None) -> None:
    for logger in trainer.loggers if trainer.is_global_zero else []:
        if hasattr(logger, method) and (having is None or getattr(logger, having, False)):
            getattr(logger, method)(*args)
