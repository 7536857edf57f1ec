"""Cross-validation: cut rows into folds, one of which is a run's test part."""

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd

from lantu.data.labels import MOST_CLASSES, loose
from lantu.data.sources import Raw
from lantu.data.values import notation, numbers
from lantu.errors import UserError


def in_folds(raw: Raw, *, fold: int, folds: int, target: str, group: str | None, seed: int) -> Raw:
    """The same rows with one fold as their test part and the rest to train on, from which validation is cut off.

    Every row is in the test part of exactly one fold. Folds hold about the same share of each class (or tenth of the
    range of numbers), and rows of one group stay together. A test part that the source has itself is left out: it
    belongs to the final model.

    Args:
        seed: of the assignment of rows to folds; must be the same for all folds.

    Raises:
        UserError: there are fewer rows or groups than folds.
    """
    published = raw.split == "test"
    rows = raw.rows[~published].reset_index(drop=True)
    groups = None
    if group is not None and group in rows:
        codes = pd.factorize(rows[group])[0]
        groups = np.where(codes < 0, codes.max() + 1 + np.arange(len(codes)), codes)  # without a group: one of its own
    units = len(rows) if groups is None else len(np.unique(groups))
    if units < folds:
        raise UserError(f"`data.folds={folds}`: there are only {units} {'rows' if groups is None else 'groups'}.")
    test = _members(_strata(rows.get(target)), groups, folds=folds, seed=seed) == fold
    notes = [*raw.notes, f"fold {fold} of {folds} is the test part ({int(test.sum()):,} rows)"]
    if published.any():
        notes.append(f"the source's own test part ({int(published.sum()):,} rows) is left out of all folds")
    return replace(raw, rows=rows, split=np.where(test, "test", "train"), notes=notes)


def _members(strata: np.ndarray, groups: np.ndarray | None, *, folds: int, seed: int) -> np.ndarray:
    """The fold of each row (N,)."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    options = {"n_splits": folds, "shuffle": True, "random_state": seed}
    stratified = np.bincount(strata).max(initial=0) >= folds
    if groups is None:
        cutter = StratifiedKFold(**options) if stratified else KFold(**options)
    else:
        cutter = StratifiedGroupKFold(**options) if stratified else GroupKFold(**options)
    member = np.zeros(len(strata), dtype=int)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes with fewer rows than folds: some folds lack them
        for number, (_, chosen) in enumerate(cutter.split(strata, strata, groups)):
            member[chosen] = number
    return member


def _strata(target: pd.Series | None) -> np.ndarray:
    """Classes, or tenths of the range of numbers; a missing target is a class of its own.

    The target is as the file has it: numbers in any notation, classes in any spelling.
    """
    if target is None:
        return np.array([], dtype=int)
    texts = target.map(lambda value: loose(str(value)), na_action="ignore")
    if texts.nunique() > MOST_CLASSES:
        decimal, unit, _ = notation([str(text).strip() for text in target.dropna().unique()[:5_000]])
        values = pd.Series(numbers(target, decimal=decimal, unit=unit))
        if values[target.notna().to_numpy()].notna().mean() > 0.9:
            texts = pd.qcut(values, 10, labels=False, duplicates="drop")
    return pd.factorize(texts, use_na_sentinel=False)[0]
