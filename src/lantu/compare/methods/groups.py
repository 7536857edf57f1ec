"""Groups of runs that differ only in their seed, and what distinguishes the groups."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd

from lantu.compare.comparability import baseline_names
from lantu.compare.reading.run_frames import Runs

INCIDENTAL = (
    "name",
    "experiment_name",
    "tags",
    "tags.*",
    "paths.*",
    "logger*",
    "hydra.*",
    "callbacks.*.dirpath",
    "callbacks.progress.*",
    "choices.logger",
    "choices.debug",
    "choices.hydra*",
    "choices.paths",
    "economics.*",
    "cost.*",
    "sweep*",
    "*.default_root_dir",
    "*.run_dir",
    "*._target_",
    "*._partial_",
    "trainer.enable_*",
    "trainer.log_every_n_steps",
)
"""Parameters that vary without making a run another configuration."""
SEEDS = ("seed", "*.seed", "*_seed", "data.fold")
FOLD = "data.fold"


@dataclass(frozen=True)
class Groups:
    """Configurations, each run with one or more seeds."""

    of_run: pd.Series
    """Group label by run id."""
    settings: pd.DataFrame
    """What varies: a row per group (index: label), a column per parameter, numbers where all are numbers."""
    short: dict[str, str]
    """A short name per column: `optimizer.lr` is `lr` where no other column ends so."""
    seed: pd.Series
    """The seed of each run, as text; missing where there is none."""
    folded: dict[str, str]
    """Parameters that vary only with another: {"model.widths": "choices.model"}."""
    folds: int | None = None
    """Folds of a cross-validation whose parts the runs of a group are; None: they are seeds."""

    @property
    def labels(self) -> list[str]:
        """The groups' names."""
        return list(self.settings.index)


def group(runs: Runs, *, by: Iterable[str] | None = None, ignore: Iterable[str] = ()) -> Groups:
    """Put runs of one configuration together.

    Args:
        runs: the runs.
        by: the parameters that make a configuration; None: all that vary, but for seeds and incidental ones.
        ignore: further patterns of parameters that do not make a configuration, such as "trainer.devices".
    """
    params = runs.params
    seeds = [name for name in params if _any(name, SEEDS)]
    seed = params["seed"] if "seed" in params else (params[seeds[0]] if seeds else None)
    if seed is None:
        constant = next((runs.constants[name] for name in runs.constants if _any(name, SEEDS)), None)
        seed = pd.Series(constant, index=params.index, dtype=object)
    if FOLD in params and params[FOLD].notna().any():
        seed = params[FOLD].fillna("").str.cat(seed.fillna("").astype(str), sep="/")
    baseline = baseline_names(runs)
    varying = _varying(params[baseline.isna()])
    kept = list(by) if by else [n for n in varying if n not in seeds and not _any(n, (*INCIDENTAL, *ignore))]
    kept = [name for name in kept if name in params and not _own(params[name], runs)]
    codes = {name: pd.factorize(params[name])[0] for name in kept}
    folded: dict[str, str] = {}
    if not by:
        kept, followers = _without_what_follows(kept, codes, _asked(runs.only(baseline.index[baseline.isna()])))
        kept, folded = _without_followers(kept, codes)
        folded |= followers
    kept = sorted(kept, key=_importance)
    table = pd.DataFrame({name: numbers(params[name]) for name in kept}, index=params.index)
    short = short_names(kept)
    if not kept:
        label = pd.Series("all runs", index=params.index)
    else:
        place = np.unique(np.stack([codes[name] for name in kept]), axis=1, return_inverse=True)[1].ravel()
        first = pd.Series(place).drop_duplicates()
        words = {number: _label(table.iloc[row], short) for row, number in first.items()}
        label = pd.Series([words[number] for number in place], index=params.index)
    label = baseline.where(baseline.notna(), label)
    settings = table.assign(group=label).drop_duplicates("group").set_index("group")
    return Groups(of_run=label, settings=settings, short=short, seed=seed, folded=folded, folds=_folds(runs))


def _varying(params: pd.DataFrame) -> list[str]:
    """The parameters in which some runs differ: a baseline, which has none, makes no difference."""
    return [name for name in params if params[name].nunique(dropna=False) > 1]


def is_incidental(name: str) -> bool:
    """Whether a parameter varies without making a run another configuration."""
    return _any(name, INCIDENTAL)


def _folds(runs: Runs) -> int | None:
    """How many folds the runs' data were cut into, where runs differ in their fold."""
    if FOLD not in runs.params:
        return None
    known = runs.constants.get("data.folds")
    known = known or (runs.params["data.folds"].dropna().max() if "data.folds" in runs.params else None)
    try:
        return max(2, int(str(known)))
    except ValueError:
        return max(2, int(runs.params[FOLD].nunique()))


def _asked(runs: Runs) -> set[str]:
    """The parameters that people typed, over all runs; empty for runs that did not record them."""
    tags = runs.tags.get("lantu.asked")
    if tags is None or tags.isna().any():
        return set()
    typed = {name for each in tags for name in str(each).split()}
    return typed | {f"choices.{name}" for name in typed}


def _without_what_follows(
    names: list[str], codes: dict[str, np.ndarray], asked: set[str]
) -> tuple[list[str], dict[str, str]]:
    """Drop parameters that were not typed and follow from those that were: a vocabulary follows its tokenizer."""
    leaders = [name for name in names if name in asked]
    if not leaders:
        return names, {}
    joint = np.unique(np.stack([codes[name] for name in leaders]), axis=1, return_inverse=True)[1].ravel()
    folded: dict[str, str] = {}
    for name in names:
        if name not in asked and _determines(joint, codes[name]):
            alone = [leader for leader in leaders if _determines(codes[leader], codes[name])]
            folded[name] = min(alone, key=lambda each: len(np.unique(codes[each])), default=leaders[0])
    return [name for name in names if name not in folded], folded


def _determines(leader: np.ndarray, follower: np.ndarray) -> bool:
    """Whether runs that agree in one code always agree in another."""
    return len(np.unique(np.stack([leader, follower]), axis=1).T) == len(np.unique(leader))


def numbers(column: pd.Series) -> pd.Series:
    """Return the column as numbers if every value is a number or None, otherwise unchanged."""
    texts = column.dropna()
    known = texts[texts != "None"]
    converted = pd.to_numeric(known, errors="coerce")
    if len(known) and converted.notna().all():
        return converted.reindex(column.index)
    return column.astype(object)


def short_names(names: list[str]) -> dict[str, str]:
    """The shortest endings of dotted names that tell them apart; a choice goes by its group."""
    short: dict[str, str] = {}
    for name in names:
        parts = name.removeprefix("choices.").split(".")
        for size in range(1, len(parts) + 1):
            candidate = ".".join(parts[-size:])
            others = [o for o in names if o != name]
            if not any(o.removeprefix("choices.") == candidate or o.endswith(f".{candidate}") for o in others):
                break
        short[name] = candidate
    return short


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _own(column: pd.Series, runs: Runs) -> bool:
    """Whether a parameter only repeats the run's own name or folder."""
    folders = runs.tags.get("lantu.run_dir")
    if folders is None:
        return False
    pairs = zip(column, folders, strict=True)
    return all(isinstance(v, str) and isinstance(f, str) and bool(f) and v.startswith(f) for v, f in pairs)


def _importance(name: str) -> tuple[int, str]:
    order = ("choices.model", "choices.data", "choices", "model", "optimizer", "scheduler", "data")
    return next((place for place, start in enumerate(order) if name.startswith(start)), len(order)), name


def _without_followers(names: list[str], codes: dict[str, np.ndarray]) -> tuple[list[str], dict[str, str]]:
    """Drop parameters that say what another already says.

    A parameter follows a choice (`choices.model`) if the choice determines it; and it follows another parameter
    if both change together in every run. Where every run has a value of its own (a random search), changing
    together says nothing, so that this needs at least one value that two different settings of the rest share.
    """
    folded: dict[str, str] = {}
    size = {name: len(np.unique(codes[name])) for name in names}
    runs = len(next(iter(codes.values()))) if codes else 0
    leaders = [name for name in names if name.startswith("choices.")]
    for name in sorted(names, key=lambda each: (not each.startswith("choices."), len(each.split(".")), each)):
        for leader in leaders:
            if leader == name or leader in folded or size[leader] < size[name]:
                continue
            if name.startswith("choices.") and size[leader] == size[name] and leader > name:
                continue
            if len(np.unique(np.stack([codes[leader], codes[name]]), axis=1).T) == size[leader]:
                folded[name] = leader
                break
    rest = [name for name in names if name not in folded]
    for place, name in enumerate(rest):
        if size[name] >= runs:
            continue
        for other in rest[:place]:
            if other in folded or size[other] != size[name] or name.startswith("choices."):
                continue
            if np.array_equal(codes[other], codes[name]):
                drop, keep = sorted((other, name), key=lambda each: (_importance(each)[0], len(each)))[::-1]
                folded[drop] = keep
                break
    return [name for name in names if name not in folded], folded


def _label(row: pd.Series, short: dict[str, str]) -> str:
    words = []
    for name, value in row.items():
        missing = value is None or (isinstance(value, float) and np.isnan(value))
        if missing and "." in str(name):
            continue  # another architecture's option
        text = "None" if missing else as_text(value)
        words.append(text if str(name) in ("choices.model", "choices.data") else f"{short[str(name)]}={text}")
    return " ".join(words) or "default"


def as_text(value: object) -> str:
    """A setting as people write it: 0.001, 3e-05, 64."""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.4g}"
    return str(value)
