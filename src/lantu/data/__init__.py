"""Data modules, one per modality: read, clean, split, standardise and batch, and publish what a model must know.

Names are imported when they are asked for: a report of a table needs no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
