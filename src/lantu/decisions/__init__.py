"""From a classifier's output to a decision: calibrated probabilities, a threshold in money, reasons, figures.

Names are imported on first use: reports compute calibration errors without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
