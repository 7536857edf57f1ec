"""DICOM, NIfTI, NRRD and MetaImage files as grey pictures whose levels are those of the scanner."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lantu.data.files import MEDICAL_ENDINGS
from lantu.extras import require

_NAMED = re.compile(rb"^(?:ElementDataFile|data ?file)\s*[=:]\s*(.+)", re.IGNORECASE | re.DOTALL)
"""The line of a header after which the files with the levels are named."""


def is_medical(path: str) -> bool:
    """Whether a file is one of those by its ending."""
    return path.lower().endswith(MEDICAL_ENDINGS)


def read_levels(path: str | Path) -> np.ndarray:
    """The levels (H, W) of a file as float32: Hounsfield units of CT, the scanner's own of other kinds.

    The scale and offset that a file gives are applied. Of a volume it is the middle slice across its last axis, which
    is the axial one of most files.

    Raises:
        UserError: SimpleITK is not installed.
        ValueError: the file has colours, or more than three axes, or it is cut short, or names a file elsewhere.
    """
    require("SimpleITK", f"reading {Path(path).name}", "medical")
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    for named in _named_files(Path(path)):
        if Path(named).is_absolute() or ".." in Path(named).parts:
            raise ValueError(f"it names a file outside its folder, {named}")
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if str(path).lower().endswith((".nii", ".nii.gz")):
            _check_whole(Path(path), reader)
        volume = reader.Execute()
    except RuntimeError as error:  # its first line names a source file of the library
        raise ValueError(str(error).strip().rpartition("\n")[2].rpartition("): ")[2]) from error
    if volume.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError("it has colours, and medical files are read as levels of grey")
    levels = SimpleITK.GetArrayFromImage(volume).astype(np.float32)
    if levels.ndim == 3:
        levels = levels[len(levels) // 2]
    if levels.ndim != 2:
        raise ValueError(f"it has {levels.ndim} axes, and pictures have two, volumes three")
    return levels


def _named_files(path: Path) -> Iterator[str]:
    """The files with the levels that a header of NRRD or MetaImage names."""
    if not path.name.lower().endswith((".nrrd", ".mha", ".mhd")):
        return
    found = False
    with path.open("rb") as file:
        for line in file.read(2**16).splitlines():
            match = _NAMED.match(line)
            found = found or match is not None
            text = (match.group(1) if match else line).decode("utf-8", errors="replace").strip()
            if found and text not in ("LOCAL", "LIST"):
                yield text
            if not line or (match and text == "LOCAL"):
                return


def _check_whole(path: Path, reader: Any) -> None:
    """Refuse a NIfTI file that holds fewer bytes than its header tells: the library fills what is missing with zeros.

    Raises:
        ValueError: it is cut short.
    """
    import SimpleITK

    size, axes = reader.GetSize(), len(reader.GetSize())
    one = SimpleITK.Image([1] * axes, reader.GetPixelID(), reader.GetNumberOfComponents())
    needed = int(np.prod(size, dtype=object)) * one.GetSizeOfPixelComponent() * one.GetNumberOfComponentsPerPixel()
    if reader.HasMetaDataKey("vox_offset"):
        needed += int(float(reader.GetMetaData("vox_offset")))
    there = path.stat().st_size
    if path.name.lower().endswith(".gz"):
        there = 0
        try:
            with gzip.open(path) as file:
                while block := file.read(2**20):
                    there += len(block)
        except EOFError:
            there = 0
    if there < needed:
        raise ValueError("the file is truncated")
