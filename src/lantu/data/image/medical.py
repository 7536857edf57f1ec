"""DICOM, NIfTI, NRRD and MetaImage files as grey pictures whose levels are those of the scanner."""

from pathlib import Path

import numpy as np

from lantu.data.files import MEDICAL_ENDINGS
from lantu.extras import require


def is_medical(path: str) -> bool:
    """Whether a file is one of those by its ending."""
    return path.lower().endswith(MEDICAL_ENDINGS)


def read_levels(path: str | Path) -> np.ndarray:
    """The levels (H, W) of a file as float32: Hounsfield units of CT, the scanner's own of other kinds.

    The scale and offset that a file gives are applied. Of a volume it is the middle slice across its last axis, which
    is the axial one of most files.

    Raises:
        UserError: SimpleITK is not installed.
        ValueError: the file has colours, or more than three axes.
    """
    require("SimpleITK", f"reading {Path(path).name}", "medical")
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    volume = SimpleITK.ReadImage(str(path))
    if volume.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError("it has colours, and medical files are read as levels of grey")
    levels = SimpleITK.GetArrayFromImage(volume).astype(np.float32)
    if levels.ndim == 3:
        levels = levels[len(levels) // 2]
    if levels.ndim != 2:
        raise ValueError(f"it has {levels.ndim} axes, and pictures have two, volumes three")
    return levels
