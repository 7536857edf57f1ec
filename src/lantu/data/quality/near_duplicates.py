"""Examples that nearly repeat: texts by MinHash (Broder 1997), pictures by a perceptual hash and their pixels."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

PERMUTATIONS, BANDS = 128, 32
"""Of a MinHash: texts that share 80% of their shingles are compared with a probability above 0.999."""
SHINGLE = 3
"""Tokens of a shingle."""
ALIKE_TEXTS = 0.8
"""Jaccard similarity of shingles from which on texts are near-duplicates."""
DIFFERENT_BITS = 3
"""Of 64, in which the hashes of near-duplicate pictures may differ."""
ALIKE_PICTURES = 0.99
"""Correlation of the pixels from which on pictures with such hashes are near-duplicates."""
LARGEST_GROUP = 200
"""Candidates that are compared pair by pair; larger groups are compared with their first member alone."""
_PRIME = (1 << 61) - 1


def near_texts(tokens: np.ndarray, *, pad: int = 0, unknown: int | None = None) -> list[tuple[int, int, float]]:
    """Pairs of texts that nearly repeat, each with the Jaccard similarity of its shingles.

    Args:
        tokens: (N, L), padded on the right.
        pad: the token that pads.
        unknown: the token of words that the vocabulary lacks: two of them are never taken for the same word.
    """
    values = tokens.astype(np.int64)
    if unknown is not None:
        lacking = values == unknown
        values[lacking] = -1 - np.arange(int(lacking.sum()))
    shingles = [_shingles(row[row != pad]) for row in values]
    random = np.random.default_rng(0)
    factors, shifts = random.integers(1, _PRIME, size=(2, PERMUTATIONS), dtype=np.int64).astype(np.uint64)
    signatures = np.stack([_signature(each, factors, shifts) for each in shingles])
    bands = signatures.reshape(len(tokens), BANDS, -1)
    found = []
    for one, two in _candidates([bands[:, number] for number in range(BANDS)]):
        shared = len(np.intersect1d(shingles[one], shingles[two], assume_unique=True))
        similarity = shared / max(1, len(shingles[one]) + len(shingles[two]) - shared)
        if similarity >= ALIKE_TEXTS:
            found.append((one, two, similarity))
    return found


def near_pictures(pixels: np.ndarray) -> list[tuple[int, int, float]]:
    """Pairs of pictures that nearly repeat, each with the correlation of its pixels.

    Args:
        pixels: (N, H, W, C) bytes.
    """
    grey = pixels.mean(axis=3)
    small = _means(grey, 8, 9)
    bits = (small[:, :, 1:] > small[:, :, :-1]).reshape(len(pixels), 64)
    packed = np.packbits(bits, axis=1)
    flat = _means(grey, 32, 32).reshape(len(pixels), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    found = []
    # with at most 3 different bits, one of the four parts of 16 bits is the same
    for one, two in _candidates([packed[:, number : number + 2] for number in range(0, 8, 2)]):
        if (
            int((bits[one] != bits[two]).sum()) <= DIFFERENT_BITS
            and (alike := float(flat[one] @ flat[two])) >= ALIKE_PICTURES
        ):
            found.append((one, two, alike))
    return found


def _shingles(tokens: np.ndarray) -> np.ndarray:
    """The distinct runs of tokens (M,) of a text, hashed; a shorter text is one run."""
    if len(tokens) < SHINGLE:
        return np.array([hash(tuple(tokens.tolist()))], dtype=np.int64).astype(np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(tokens.astype(np.uint64), SHINGLE)
    with np.errstate(over="ignore"):
        key = np.zeros(len(windows), dtype=np.uint64)
        for place in range(SHINGLE):
            key = (key ^ windows[:, place]) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
    return np.unique(key)


def _signature(shingles: np.ndarray, factors: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return (shingles[:, None] * (factors | np.uint64(1)) + shifts).min(axis=0)


def _candidates(keys: list[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Pairs of rows that share a key in at least one band, each once, the earlier row first."""
    seen: set[tuple[int, int]] = set()
    for band in keys:
        groups: dict[bytes, list[int]] = defaultdict(list)
        for row, key in enumerate(np.ascontiguousarray(band)):
            groups[key.tobytes()].append(row)
        for rows in groups.values():
            firsts = rows if len(rows) <= LARGEST_GROUP else rows[:1]
            for place, one in enumerate(firsts):
                for two in rows[place + 1 :]:
                    if (one, two) not in seen:
                        seen.add((one, two))
                        yield one, two


def _means(grey: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Pictures (N, H, W) as grids (N, rows, columns) of means; smaller ones are enlarged by repeating pixels."""
    height, width = grey.shape[1:]
    down = np.add.reduceat(grey, (np.arange(rows) * height // rows), axis=1) if height >= rows else None
    if down is None or width < columns:
        up, across = np.arange(rows) * height // rows, np.arange(columns) * width // columns
        return grey[:, up][:, :, across]
    across = np.add.reduceat(down, (np.arange(columns) * width // columns), axis=2)
    heights = np.diff(np.append(np.arange(rows) * height // rows, height))
    widths = np.diff(np.append(np.arange(columns) * width // columns, width))
    return across / (heights[:, None] * widths)
