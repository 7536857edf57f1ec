"""Pools of workers: one file for each way of running several trials at the same time.

A pool takes jobs and reports which have ended. Only the standard library and Hydra are imported before a pool is
opened.
"""

from lantu.sweeps.pools.pool import Ended, Job, Pool, Work

__all__ = ["Ended", "Job", "Pool", "Work"]
