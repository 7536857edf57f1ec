"""Whether less or more of a metric is better, by its name."""

from lantu.errors import UserError

SMALLER_IS_BETTER = (
    "loss",
    "error",
    "perplexity",
    "rmse",
    "mae",
    "mse",
    "wer",
    "cer",
    "fid",
    "brier",
    "bits_per",
    "repetition",
)
"""Beginnings or parts of metric names that say that less is better."""


def direction(metric: str, mode: str = "auto") -> str:
    """ "min" or "max": whether less or more of a metric is better.

    Raises:
        UserError: `mode` is none of min, max, auto.
    """
    if mode in ("min", "max"):
        return mode
    if mode != "auto":
        raise UserError(f"`mode={mode}`: a metric is to be `min` or `max`, or `auto` to go by its name.")
    name = metric.rpartition("/")[2].lower()
    costs = metric.startswith(("cost/", "model/parameters")) or name.endswith(("_ms", "_seconds"))
    return "min" if costs or any(part in name for part in SMALLER_IS_BETTER) else "max"
