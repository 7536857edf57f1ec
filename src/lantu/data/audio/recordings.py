"""Read recordings: WAV, FLAC, OGG and MP3 through soundfile, resampled to one rate and mixed down to mono."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from lantu.data.cleaning_report import Report
from lantu.data.files import visible_files, with_endings
from lantu.errors import UserError
from lantu.notices import warn_once

ENDINGS = (".wav", ".flac", ".ogg", ".mp3", ".oga", ".opus", ".aif", ".aiff", ".au")
OTHER_ENDINGS = (".m4a", ".aac", ".wma", ".mp4", ".webm", ".amr", ".ape", ".3gp")
"""Of recordings that soundfile does not read."""
CANCELLED = 0.1
"""Channels cancel each other where their mean has less than this share of the loudest one's amplitude (-20 dB)."""
_UNKNOWN_LENGTH = 0x7FFFFF00
"""Lengths from here on are written into a WAV file by programs that do not know it yet."""
LOUDEST = 1e6
"""Samples beyond this, where 1 is full scale, are no sound; their power would overflow."""
RATES = (100, 10_000_000)
"""Samples per second that a recording may have; a header that tells others is damaged."""
SENT = 2**28
"""Samples of a recording that a client sends at most: silence of days is small when it is compressed."""
BLOCK = 2**20
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


def read_recordings(cells: Sequence[Any], *, rate: int | None = None, most: int | None = None) -> Recordings:
    """Read every recording of a column.

    Args:
        cells: paths, or the hub's {"bytes", "path"}; a list of these is one recording after the other.
        rate: samples per second of the result; None: the rate that most recordings have.
        most: samples of all channels together above which a recording is not read; None: any number.

    Raises:
        UserError: no recording can be read.
    """
    if not len(cells):
        raise UserError("no recording is left to be read.")
    with ThreadPoolExecutor() as pool:
        read = list(pool.map(partial(_read, most=most), cells))
        found = Counter(each.rate for each in read if each is not None)
        if not found:
            raise UserError(f"none of the {len(cells):,} recordings can be read; readable are {', '.join(ENDINGS)}.")
        wanted = rate or max(sorted(found), key=lambda each: found[each])
        result = Recordings(list(pool.map(lambda each: _converted(each, wanted), read)), wanted)
    for number, (cell, each) in enumerate(zip(cells, read, strict=True)):
        if each is None:
            result.unreadable.append(name_of(cell, number))
            continue
        samples = each.samples
        result.resampled += each.rate != wanted
        result.mixed_down += samples.shape[1] > 1
        name = name_of(cell, number)
        if not len(result.waves[number]):
            result.empty.append(name)
            continue
        if each.cut_short or is_cut_short(cell):
            result.cut_short.append(name)
        if not (np.abs(samples) <= LOUDEST).all():
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
    report.note(
        len(read.not_finite),
        "recordings with NaN, infinite or impossibly loud samples, set to 0",
        names=read.not_finite,
    )
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
        cells = read_recordings([{"bytes": each} for each in cells], rate=rate, most=SENT).waves
    waves = [np.asarray(each, dtype=np.float32) for each in cells]
    empty = [number for number, wave in enumerate(waves) if wave.ndim != 1 or not len(wave)]
    if empty:
        raise UserError(
            f"recording {empty[0]} of {len(waves)} of the request cannot be read, has no sample, or is too long."
        )
    return waves


def name_of(cell: Any, number: int) -> str:
    """What a person calls a recording: its file's name, or its row."""
    path = cell.get("path") if isinstance(cell, dict) else cell
    return Path(str(path)).name if path else f"row {number}"


def audio_files(folder: Path) -> list[Path]:
    """Every recording under a folder in order of path; hidden files and folders are passed over.

    What has the name of a recording and is no file (a folder, a link that leads nowhere) is left out and said.
    """
    everything = visible_files(folder)
    found = with_endings(everything, ENDINGS)[0]
    files = [file for file in found if file.is_file()]
    folders = (each for ending in ENDINGS for each in folder.rglob(f"[!.]*{ending}") if os.path.isdir(each))
    if others := sorted(each.name for each in (*found, *folders) if not each.is_file()):
        shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
        warn_once(f"{folder}: folders and links that lead nowhere are no recordings and were left out: {shown}")
    if unread := with_endings(everything, OTHER_ENDINGS)[0]:
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
    return np.where(np.abs(samples) <= LOUDEST, samples, np.float32(0))


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


@dataclass(frozen=True)
class _Decoded:
    """A recording as its file has it."""

    samples: np.ndarray
    """float32 (n, channels)."""
    rate: int
    cut_short: bool = False
    """Whether it holds fewer samples than its header tells."""


def _read(cell: Any, *, most: int | None = None) -> _Decoded | None:
    """A recording of at most so many samples; None when it has more, or when the file cannot be decoded."""
    import soundfile

    if isinstance(cell, list):
        return _joined([_read(each, most=most) for each in cell])

    if isinstance(cell, dict):
        cell = BytesIO(cell["bytes"]) if cell.get("bytes") is not None else cell.get("path")
    blocks: list[np.ndarray] = []
    try:
        with soundfile.SoundFile(cell if isinstance(cell, BytesIO) else str(cell)) as file:
            rate, told, read = int(file.samplerate), int(file.frames), 0
            if not RATES[0] <= rate <= RATES[1]:
                return None
            # not all at once: a header may tell more samples than any memory holds
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                blocks.append(block)
                read += len(block)
                if most is not None and read * block.shape[1] > most:
                    return None
            cut_short = file.format == "FLAC" and read < told
            empty = np.zeros((0, file.channels), dtype=np.float32)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError):
        return None
    return _Decoded(np.concatenate(blocks) if blocks else empty, rate, cut_short)


def _joined(parts: list[_Decoded | None]) -> _Decoded | None:
    """Recordings one after the other; None when one cannot be read or they differ in rate."""
    read = [each for each in parts if each is not None]
    if len(read) < len(parts) or len({each.rate for each in read}) != 1:
        return None
    waves = np.concatenate([_mono(each.samples)[:, None] for each in read])
    return _Decoded(waves, read[0].rate, any(each.cut_short for each in read))


def _converted(read: _Decoded | None, rate: int) -> np.ndarray:
    """One channel, finite, at the wanted rate."""
    if read is None:
        return np.zeros(0, dtype=np.float32)
    wave = _mono(read.samples)
    if read.rate != rate and len(wave):
        import soxr

        wave = soxr.resample(wave, read.rate, rate)
    return wave.astype(np.float32, copy=False)
