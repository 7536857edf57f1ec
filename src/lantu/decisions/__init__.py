"""From a classifier's output to a decision: calibrated probabilities, a threshold in money, reasons, figures."""

from lantu.decisions.calibration import Calibration, Isotonic, Platt, Temperature
from lantu.decisions.decision import Decision

__all__ = ["Calibration", "Decision", "Isotonic", "Platt", "Temperature"]
