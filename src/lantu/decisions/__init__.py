"""From a classifier's output to a decision: calibrated probabilities, a threshold in money, reasons, figures.

Names are imported on first use: reports compute calibration errors without torch.
"""

from typing import TYPE_CHECKING

from lantu.lazy_imports import attribute_importer

if TYPE_CHECKING:
    from lantu.decisions.calibration import Calibration, Isotonic, Platt, Temperature
    from lantu.decisions.decision import Decision

_HOMES = {
    "Calibration": "lantu.decisions.calibration",
    "Decision": "lantu.decisions.decision",
    "Isotonic": "lantu.decisions.calibration",
    "Platt": "lantu.decisions.calibration",
    "Temperature": "lantu.decisions.calibration",
}

__all__ = ["Calibration", "Decision", "Isotonic", "Platt", "Temperature"]

__getattr__ = attribute_importer(__name__, _HOMES)
