"""Where trials run: one file for each way of running several at the same time.

A pool takes jobs and says which have ended, in whatever way. Nothing heavier than the standard library is imported
before a pool is opened.
"""

from lantu.sweeps.pools.pool import Ended, Job, Pool, Work

__all__ = ["Ended", "Job", "Pool", "Work"]
