"""Read recordings: WAV, FLAC, OGG and MP3 through soundfile, resampled to one rate and mixed down to mono."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from lantu.data.cleaning_report import Report
from lantu.errors import UserError
from lantu.notices import warn_once

ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".oga", ".opus", ".aif", ".aiff", ".au")
OTHER_ENDINGS = (".m4a", ".aac", ".wma", ".mp4", ".webm", ".amr", ".ape", ".3gp")
"""Of recordings that soundfile does not read."""
CANCELLED = 0.1
"""Channels cancel each other where their mean has less than this share of the loudest one's amplitude (-20 dB)."""
_UNKNOWN_LENGTH = 0x7FFFFF00
"""Lengths from here on are written into a WAV file by programs that do not know it yet."""
SILENT_PEAK = 1e-4
"""A recording whose largest sample is below this (-80 dB of full scale) counts as silent."""
CLIPPED_SHARE = 0.01
"""A recording with more than this share of its samples at full scale counts as clipped."""


@dataclass
class Recordings:
    """Waveforms and what was found in them."""

    waves: list[np.ndarray]
    """float32 (samples,) in [-1, 1] each; empty where a recording could not be read."""
    rate: int
    """Samples per second of all of them."""
    unreadable: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    clipped: list[str] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)
    cut_short: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    resampled: int = 0
    mixed_down: int = 0

    @property
    def readable(self) -> np.ndarray:
        """(N,) bool: recordings with at least one sample."""
        return np.array([len(wave) > 0 for wave in self.waves], dtype=bool)


def read_recordings(cells: Sequence[Any], *, rate: int | None = None) -> Recordings:
    """Read every recording of a column.

    Args:
        cells: paths, or the hub's {"bytes", "path"}; a list of these is one recording after the other.
        rate: samples per second of the result; None: the rate that most recordings have.

    Raises:
        UserError: no recording can be read.
    """
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(_read, cells))
        found = [each[1] for each in read if each is not None]
        if not found:
            raise UserError(f"none of the {len(cells):,} recordings can be read; readable are {', '.join(ENDINGS)}.")
        wanted = rate or int(np.bincount(found).argmax())
        result = Recordings(list(pool.map(lambda each: _converted(each, wanted), read)), wanted)
    for number, (cell, each) in enumerate(zip(cells, read, strict=True)):
        if each is None:
            result.unreadable.append(name_of(cell, number))
            continue
        samples, own_rate = each
        result.resampled += own_rate != wanted
        result.mixed_down += samples.shape[1] > 1
        name = name_of(cell, number)
        if not len(samples):
            result.empty.append(name)
            continue
        if is_cut_short(cell):
            result.cut_short.append(name)
        if not np.isfinite(samples).all():
            result.not_finite.append(name)
        finite = _finite(samples)
        if _channels_cancel(finite):
            result.cancelled.append(name)
        level = np.abs(finite)
        if level.max() < SILENT_PEAK:
            result.silent.append(name)
        elif (level >= 0.999).mean() > CLIPPED_SHARE:
            result.clipped.append(name)
    return result


def note_findings(read: Recordings, report: Report) -> None:
    """Count in a report, and name, what was found in recordings."""
    report.note(len(read.unreadable), "recordings that could not be read left out", names=read.unreadable)
    report.note(len(read.empty), "recordings without a sample left out", names=read.empty)
    report.note(len(read.silent), "silent recordings", names=read.silent)
    report.note(len(read.clipped), "clipped recordings", names=read.clipped)
    report.note(len(read.cut_short), "recordings cut short, used as far as they go", names=read.cut_short)
    report.note(len(read.not_finite), "recordings with NaN or infinite samples, set to 0", names=read.not_finite)
    cancelled = "recordings with channels of opposite phase, of which the loudest channel is used"
    report.note(len(read.cancelled), cancelled, names=read.cancelled)
    report.note(read.resampled, f"recordings resampled to {read.rate} Hz")
    report.note(read.mixed_down, "recordings with several channels averaged to one")


def read_for_prediction(path: Path, *, rate: int) -> tuple[list[np.ndarray], list[str]]:
    """The recordings of a file or a folder that can be read, and their files; names the others.

    Raises:
        UserError: there is none.
    """
    files = [path] if path.is_file() else audio_files(path)
    if not files:
        raise UserError(f"`input={path}`: there are no recordings.")
    read = read_recordings([str(file) for file in files], rate=rate)
    bad = [file.name for file, good in zip(files, read.readable, strict=True) if not good]
    if bad:
        print(f"{len(bad)} of {len(files)} recordings cannot be read and are left out: {', '.join(bad[:5])}")
    good = [str(file) for file, each in zip(files, read.readable, strict=True) if each]
    if not good:
        raise UserError(f"`input={path}`: none of the recordings has a sample.")
    return [wave for wave in read.waves if len(wave)], good


def waves_of(inputs: Iterable[Any], *, rate: int) -> list[np.ndarray]:
    """Requests as waveforms: arrays (samples,) at the training's rate as they are, encoded files (bytes) decoded.

    Raises:
        UserError: one of them cannot be read or is empty.
    """
    cells = list(inputs)
    if any(isinstance(each, str | dict) for each in cells):  # of a table these are the columns' names
        raise UserError(
            "Recordings are sent as files, or as arrays (samples,), and neither as rows of a table nor names."
        )
    if all(isinstance(each, bytes) for each in cells):
        cells = read_recordings([{"bytes": each} for each in cells], rate=rate).waves
    waves = [np.asarray(each, dtype=np.float32) for each in cells]
    empty = [number for number, wave in enumerate(waves) if wave.ndim != 1 or not len(wave)]
    if empty:
        raise UserError(f"recording {empty[0]} of {len(waves)} of the request cannot be read or has no sample.")
    return waves


def name_of(cell: Any, number: int) -> str:
    """What a person calls a recording: its file's name, or its row."""
    path = cell.get("path") if isinstance(cell, dict) else cell
    return Path(str(path)).name if path else f"row {number}"


def audio_files(folder: Path) -> list[Path]:
    """Every recording under a folder in order of path; hidden files and folders are passed over.

    What has the name of a recording and is no file (a folder, a link that leads nowhere) is left out and said.
    """
    found = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in ENDINGS and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    files = [file for file in found if file.is_file()]
    if others := [file.name for file in found if not file.is_file()]:
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        warn_once(f"{folder}: folders and links that lead nowhere are no recordings and were left out: {shown}")
    if unread := [each for each in folder.rglob("*") if each.suffix.lower() in OTHER_ENDINGS]:
        warn_once(
            f"{folder}: {len(unread):,} of the files, such as {unread[0].name}, cannot be read and are left out; "
            "`ffmpeg -i FILE FILE.flac` converts one"
        )
    return files


def is_cut_short(cell: Any) -> bool:
    """Whether a WAV file is shorter than its header says."""
    path = cell.get("path") if isinstance(cell, dict) and cell.get("bytes") is None else cell
    if not isinstance(path, str | Path):
        return False
    with open(path, "rb") as file:
        head = file.read(8)
        size = int.from_bytes(head[4:], "little")
        return head[:4] == b"RIFF" and size < _UNKNOWN_LENGTH and size + 8 > file.seek(0, 2) + 1  # an odd last byte


def _finite(samples: np.ndarray) -> np.ndarray:
    return np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)


def _channels_cancel(samples: np.ndarray) -> bool:
    """Whether the mean of the channels (n, channels) is nearly silent, and one of them is not: opposite phases."""
    if samples.shape[1] < 2 or not len(samples):
        return False
    loudest = np.sqrt(np.square(samples, dtype=np.float64).mean(axis=0)).max()
    mean = np.sqrt(np.square(samples.mean(axis=1), dtype=np.float64).mean())
    return bool(loudest > SILENT_PEAK and mean < CANCELLED * loudest)


def _mono(samples: np.ndarray) -> np.ndarray:
    """One channel (n,) of several (n, channels): their mean, or the loudest where they cancel each other."""
    samples = _finite(samples)
    if _channels_cancel(samples):
        return samples[:, np.square(samples, dtype=np.float64).mean(axis=0).argmax()]
    return samples.mean(axis=1)


def _read(cell: Any) -> tuple[np.ndarray, int] | None:
    """Samples (n, channels) and their rate; None when the file cannot be decoded."""
    import soundfile

    if isinstance(cell, list):
        return _joined([_read(each) for each in cell])

    if isinstance(cell, dict):
        cell = BytesIO(cell["bytes"]) if cell.get("bytes") is not None else cell.get("path")
    try:
        samples, rate = soundfile.read(
            cell if isinstance(cell, BytesIO) else str(cell), dtype="float32", always_2d=True
        )
    except (soundfile.SoundFileError, OSError, TypeError, ValueError):
        return None
    return samples, int(rate)


def _joined(parts: list[tuple[np.ndarray, int] | None]) -> tuple[np.ndarray, int] | None:
    """Recordings one after the other; None when one cannot be read or they differ in rate."""
    read = [each for each in parts if each is not None]
    if len(read) < len(parts) or len({rate for _, rate in read}) != 1:
        return None
    return np.concatenate([_mono(samples)[:, None] for samples, _ in read]), read[0][1]


def _converted(read: tuple[np.ndarray, int] | None, rate: int) -> np.ndarray:
    """One channel, finite, at the wanted rate."""
    if read is None:
        return np.zeros(0, dtype=np.float32)
    samples, own_rate = read
    wave = _mono(samples)
    if own_rate != rate and len(wave):
        import soxr

        wave = soxr.resample(wave, own_rate, rate)
    return wave.astype(np.float32, copy=False)
