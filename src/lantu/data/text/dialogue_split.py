"""Split question-answer pairs so that no question of the test set occurs in the training set."""

import unicodedata
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import regex

from lantu.data.sources import Raw
from lantu.data.splitting import shares
from lantu.errors import UserError

ROWS_AT_ONCE = 1000
"""Questions that are compared with all others in one step."""


def held_out_questions(
    source: Callable[[], Raw],
    *,
    question: str = "question",
    rename: dict[str, dict[str, str]] | None = None,
    alike: float | None = None,
    split: dict[str, float] | None = None,
    split_seed: int = 0,
) -> Raw:
    """Split a source by question: rows with the same normalised question stay in one split.

    Args:
        source: gives the rows; its own split is ignored.
        question: the column that decides which rows belong together.
        rename: by column, values to replace by a synonym, such as {"topic": {"IA": "ai"}}.
        alike: questions whose character trigrams have at least this Jaccard similarity stay together as well, and so do
            questions connected through others; None: only equal ones.
        split: shares of "val" and "test" among the distinct questions, or among the groups of similar ones.
        split_seed: of the random split.

    Raises:
        UserError: the source lacks a column, or an option is out of its range.
    """
    if alike is not None and not 0 < alike <= 1:
        raise UserError(
            f"`data.alike={alike}` is a share of trigrams: above 0, at most 1, or null for equal ones only."
        )
    raw = source()
    for column in (question, *(rename or {})):
        if column not in raw.rows:
            raise UserError(f"{raw.name} has no column {column!r}. There are: {', '.join(raw.rows.columns)}.")
    rows = raw.rows.assign(
        **{column: raw.rows[column].replace(names) for column, names in (rename or {}).items()}
    ).reset_index(drop=True)
    group, texts = pd.factorize(rows[question].fillna("").map(normalised), sort=True)
    if alike is not None:
        group = _joined(list(texts), alike)[group]
    wanted = shares(split)
    place = np.random.default_rng(split_seed).permutation(int(group.max()) + 1) / (int(group.max()) + 1)
    parts = np.select([place < wanted["test"], place < wanted["test"] + wanted["val"]], ["test", "val"], "train")
    lacking = [name for name in ("train", "val", "test") if wanted.get(name, 1.0) and name not in parts]
    if lacking:
        instead = " Type `data.alike=null` to keep only equal ones together." if alike is not None else ""
        few = f"{len(parts)} different questions, too few to leave some for the {lacking[0]} part"
        raise UserError(f"{raw.name} has {few}.{instead}")
    return replace(raw, rows=rows, split=parts[group])


def normalised(text: str) -> str:
    """Remove case, punctuation and spaces, so that "Hello!" and "hello" are the same question."""
    folded = unicodedata.normalize("NFKC", str(text)).casefold()
    return regex.sub(r"[^\p{L}\p{M}\p{N}]+", "", folded) or folded


def _joined(texts: list[str], alike: float) -> np.ndarray:
    """Return a group number for each text (N,): connected components of the graph that links similar texts."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from sklearn.feature_extraction.text import CountVectorizer

    if not any(texts):
        return np.arange(len(texts))
    edged = [f"^{text}$" for text in texts]  # so that a text of one character has a trigram too
    trigrams = CountVectorizer(analyzer="char", ngram_range=(3, 3), binary=True, lowercase=False).fit_transform(edged)
    sizes = np.asarray(trigrams.sum(axis=1)).ravel()
    pairs = []
    for begin in range(0, len(texts), ROWS_AT_ONCE):  # in blocks, because most texts share some trigram
        common = (trigrams[begin : begin + ROWS_AT_ONCE] @ trigrams.T).tocoo()
        row = common.row + begin
        near = common.data >= alike * (sizes[row] + sizes[common.col] - common.data)
        pairs.append(np.stack([row[near], common.col[near]]))
    rows, columns = np.concatenate(pairs, axis=1)
    links = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(len(texts), len(texts)))
    return connected_components(links, directed=False)[1]
