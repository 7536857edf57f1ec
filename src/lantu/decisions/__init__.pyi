from .calibration import Calibration as Calibration
from .calibration import Isotonic as Isotonic
from .calibration import Platt as Platt
from .calibration import Temperature as Temperature
from .decision import Decision as Decision
