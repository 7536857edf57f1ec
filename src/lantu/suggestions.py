"""Suggest existing names for one that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches


def near_misses(name: str, names: Iterable[str], *, limit: int = 3) -> list[str]:
    """The `names` most like `name`: same last part, an abbreviation of it or what it abbreviates, a few letters off.

    >>> near_misses("optimizer.wd", ["optimizer.lr", "optimizer.weight_decay"])
    ['optimizer.weight_decay']
    >>> near_misses("learning_rate", ["optimizer.lr", "optimizer.weight_decay"])
    ['optimizer.lr']
    """
    names = list(names)
    if alike := [full for full in names if full.casefold() == name.casefold() and full != name]:
        return alike[:limit]
    parent, _, leaf = name.rpartition(".")
    same_leaf = [full for full in names if full.rpartition(".")[2] == leaf]
    siblings = [full for full in names if full.rpartition(".")[0] == parent]
    short = [full for full in siblings if leaf and leaf == _initials(full.rpartition(".")[2])]
    shorter = [full for full in names if "_" in leaf and full.rpartition(".")[2] == _initials(leaf)]
    if short or same_leaf or shorter:
        return [*short, *same_leaf, *shorter][:limit]
    by_leaf = {full.rpartition(".")[2]: full for full in siblings}
    typos = [by_leaf[match] for match in get_close_matches(leaf, by_leaf, n=limit, cutoff=0.6)]
    anywhere = get_close_matches(name, names, n=limit, cutoff=0.7)
    holding = [] if typos or anywhere else [full for full in names if leaf in full.rpartition(".")[2].split("_")]
    return list(dict.fromkeys([*typos, *anywhere, *holding]))[:limit]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A question for the end of an error message, or an empty string when nothing is near."""
    near = near_misses(name, names)
    return f" Did you mean {' or '.join(f'`{each}`' for each in near)}?" if near else ""


def _initials(words: str) -> str:
    return "".join(part[0] for part in words.split("_") if part)
