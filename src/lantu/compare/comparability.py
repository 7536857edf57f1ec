"""Whether the scores of some runs may be ranked at all, and what a reader must know of what is compared."""

from collections.abc import Iterable

import pandas as pd

from lantu.compare.reading.run_frames import Runs
from lantu.metric_direction import known_direction

DEPEND_ON_THE_LOSS = ("loss", "perplexity")
"""Last parts of the names of metrics that mean another thing where the loss is another."""
LOSS_SETTINGS = ("choices.task", "task._target_", "task.loss")
TOKEN_SETTINGS = ("data.level", "data.tokenizer", "data.vocab_size", "spec.vocab_size")
"""Settings that decide what one token is, and so what a loss per token measures."""
OWN_LOSS_SETTINGS = (
    "choices.model",
    "model.config.model_type",
    "model.class_weight",
    "model.box_weight",
    "model.bins_weight",
)
"""Settings that decide what a detector's loss is: each network computes its own."""
CONTRAST_SETTINGS = ("choices.model", "data.batch_size", "trainer.devices", "trainer.num_nodes")
"""Settings that decide among how many pairs a contrastive loss finds the right one: those of a device's batch."""
DATA_SETTINGS = ("choices.data", "data.path", "data.target", "data.source.path", "data.source.name", "data.language")
PREFERRED = ("map", "mean_recall", "bits_per_byte", "accuracy", "f1", "auroc", "r2", "rmse", "mae")
"""Metrics that take the loss's place where losses differ in kind, the first choice first."""


def differing_losses(runs: Runs, metric: str) -> list[str]:
    """The settings by which the metric of some runs is another quantity than that of others; [] where none is."""
    if metric.rpartition("/")[2].removesuffix("_best") not in DEPEND_ON_THE_LOSS:
        return []
    settings = [*LOSS_SETTINGS]
    if any(name.endswith(("/perplexity", "/bits_per_byte")) for name in runs.metrics):
        settings += TOKEN_SETTINGS
    if any(name.endswith("/map") for name in runs.metrics):
        settings += OWN_LOSS_SETTINGS
    if any(name.endswith("/mean_recall") for name in runs.metrics):
        settings += CONTRAST_SETTINGS
    return _varying(runs, settings)


def differing_data(runs: Runs) -> list[str]:
    """The settings by which the runs were made on different data."""
    return _varying(runs, DATA_SETTINGS)


def shared_metric(runs: Runs, *, stage: str = "val") -> str | None:
    """A metric of a stage that all scored runs have and that means the same in all; None: there is none."""
    scored = runs.score.notna()
    there = [
        name
        for name in runs.metrics
        if name.startswith(f"{stage}/")
        and not name.endswith("_best")
        and name.rpartition("/")[2] not in DEPEND_ON_THE_LOSS
        and runs.metrics.loc[scored, name].notna().all()
    ]
    named = [f"{stage}/{name}" for name in PREFERRED if f"{stage}/{name}" in there]
    return next(iter([*named, *(name for name in there if known_direction(name))]), None)


def _varying(runs: Runs, settings: Iterable[str]) -> list[str]:
    scored = runs.params[runs.score.notna() & baseline_names(runs).isna()]  # a baseline has no settings
    found = [name for name in settings if name in scored and scored[name].nunique(dropna=False) > 1]
    # a choice and the class that it selects are one setting
    return [name for name in found if name != "task._target_" or "choices.task" not in found]


def names_of(settings: Iterable[str]) -> str:
    """Settings as they are typed: `data.level`, `task`."""
    return " and ".join(f"`{name.removeprefix('choices.')}`" for name in settings)


def baseline_names(runs: Runs) -> pd.Series:
    """By run, the name of the baseline that it is; missing for a run of a network."""
    described = runs.tags.get("lantu.baseline")
    if described is None:
        return pd.Series(None, index=runs.info.index, dtype=object)
    names = runs.info["name"].where(described.notna())
    return names
