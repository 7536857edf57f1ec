"""What a run costs: hours, energy, carbon, money, FLOPs, time spent waiting for data.

Names are imported lazily: the meter needs Lightning, but `lantu sweeps`, which prints amounts, must start fast.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
