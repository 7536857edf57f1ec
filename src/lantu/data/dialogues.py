"""Question and answer pairs, divided so that no question of the test part was trained on."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from lantu.data.sources import Raw
from lantu.data.splitting import shares
from lantu.errors import UserError


def held_out_questions(
    source: Callable[[], Raw],
    *,
    question: str = "question",
    rename: dict[str, dict[str, str]] | None = None,
    split: dict[str, float] | None = None,
    split_seed: int = 0,
) -> Raw:
    """Rows of a source whose parts share no question: rows with the same normalised question stay together.

    Args:
        source: gives the rows; a division of its own is not kept.
        question: the column that decides which rows belong together.
        rename: by column, values that mean the same as another one, such as {"topic": {"IA": "ai"}}.
        split: shares of "val" and "test" of the different questions.
        split_seed: decides which questions they are.

    Raises:
        UserError: the source lacks a column, or the shares leave nothing to train on.
    """
    raw = source()
    for column in (question, *(rename or {})):
        if column not in raw.rows:
            raise UserError(f"{raw.name} has no column {column!r}. There are: {', '.join(raw.rows.columns)}.")
    rows = raw.rows.assign(
        **{column: raw.rows[column].replace(names) for column, names in (rename or {}).items()}
    ).reset_index(drop=True)
    group = pd.factorize(rows[question].fillna("").map(normalised), sort=True)[0]
    wanted = shares(split)
    place = np.random.default_rng(split_seed).permutation(int(group.max()) + 1) / (int(group.max()) + 1)
    parts = np.select([place < wanted["test"], place < wanted["test"] + wanted["val"]], ["test", "val"], "train")
    return replace(raw, rows=rows, split=parts[group])


def normalised(text: str) -> str:
    """A text without case, punctuation and spaces, so that "Hello!" and "hello" are one question."""
    folded = unicodedata.normalize("NFKC", str(text)).casefold()
    return re.sub(r"[\W_]+", "", folded) or folded
