"""The fewest edits from one text to another, in words and in characters."""

from collections import Counter

import numpy as np


def edits(truth: list[str], text: list[str]) -> Counter[tuple[str, str]]:
    """The fewest edits from what was said to what was recognised: (said, recognised) with "" for nothing."""
    costs = np.zeros((len(truth) + 1, len(text) + 1), dtype=int)
    costs[:, 0], costs[0] = np.arange(len(truth) + 1), np.arange(len(text) + 1)
    for row, said in enumerate(truth, start=1):
        for column, heard in enumerate(text, start=1):
            costs[row, column] = min(
                costs[row - 1, column - 1] + (said != heard), costs[row - 1, column] + 1, costs[row, column - 1] + 1
            )
    found: Counter[tuple[str, str]] = Counter()
    row, column = len(truth), len(text)
    while row or column:
        differs = row > 0 and column > 0 and truth[row - 1] != text[column - 1]
        if row and column and costs[row, column] == costs[row - 1, column - 1] + differs:
            row, column = row - 1, column - 1
            if differs:
                found[truth[row], text[column]] += 1
        elif row and costs[row, column] == costs[row - 1, column] + 1:
            row -= 1
            found[truth[row], ""] += 1
        else:
            column -= 1
            found["", text[column]] += 1
    return found


def distance(truth: str, text: str) -> int:
    """The fewest characters to substitute, delete or insert that turn one text into another (Levenshtein 1966)."""
    signs, places = np.array(list(text)), np.arange(len(text) + 1)
    costs = places
    for row, sign in enumerate(truth, start=1):
        either = np.minimum(costs[1:] + 1, costs[:-1] + (signs != sign))
        # an insertion costs 1 for each place: the least of all places before
        costs = np.minimum.accumulate(np.append(row, either) - places) + places
    return int(costs[-1])
