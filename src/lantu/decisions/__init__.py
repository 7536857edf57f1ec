"""From a classifier's output to a decision: calibrated probabilities, a threshold in money, reasons, figures.

Names are imported on first use: reports compute calibration errors without torch.
"""

from typing import TYPE_CHECKING

from lantu.package_exports import lazy_exports

if TYPE_CHECKING:
    from lantu.decisions.calibration import Calibration as Calibration
    from lantu.decisions.calibration import Isotonic as Isotonic
    from lantu.decisions.calibration import Platt as Platt
    from lantu.decisions.calibration import Temperature as Temperature
    from lantu.decisions.decision import Decision as Decision

__getattr__, __all__ = lazy_exports(__name__, __file__)
