"""What a language model over many languages has to beat on the same held-out text: baselines of each language alone.

    python scripts/bench/languages.py [OVERRIDE ...]

For each language its own training part is all that a baseline knows: byte frequencies (order 0), interpolated byte
n-grams (Witten and Bell 1991) of orders 2 and 4, and lzma's growth when the held-out text follows the training text.
Prints bits per byte over all held-out bytes.
"""

import lzma
import sys
from collections import defaultdict
from typing import Any

import numpy as np

import lantu
from lantu.config.build import build

ORDERS = (0, 2, 4)


def ngram_bits(training: np.ndarray, text: np.ndarray, order: int) -> float:
    """Bits of all bytes of a text (M,) but the first; orders are mixed by the variety of what followed a context."""
    p = np.full(len(text), 1 / 256)
    for length in range(order + 1):
        grams, times = np.unique(_grams(training, length), return_counts=True)
        contexts, first, variety = np.unique(grams >> 8, return_index=True, return_counts=True)
        totals = np.add.reduceat(times, first)
        asked = _grams(text, length)
        seen = _looked_up(asked, grams, times)
        total, kinds = (_looked_up(asked >> 8, contexts, each) for each in (totals, variety))
        here = p[length:]  # where there is a context that long
        p[length:] = np.where(total > 0, (seen + kinds * here) / np.maximum(total + kinds, 1), here)
    return float(-np.log2(p[1:]).sum())


def _grams(text: np.ndarray, length: int) -> np.ndarray:
    """A number for each byte from place `length` on, with that many before it as its higher digits."""
    digits = [text[place : len(text) - length + place] << 8 * (length - place) for place in range(length + 1)]
    return np.sum(digits, axis=0)


def _looked_up(asked: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    place = np.searchsorted(known, asked).clip(max=len(known) - 1)
    return np.where(known[place] == asked, values[place], 0)


def compressed_bits(training: bytes, text: bytes) -> float:
    def size(data: bytes) -> int:
        return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6}]))

    return 8.0 * (size(training + text) - size(training))


def main(overrides: list[str]) -> None:
    data = build(lantu.compose("data=udhr", "model=gpt", *overrides).cfg.data)
    data.setup("fit")
    bits: defaultdict[str, float] = defaultdict(float)
    length = 0
    for number in range(len(data.languages)):
        training, held_out = (_bytes(data.splits[part], number) for part in ("train", "test"))
        if len(held_out) < 2:
            continue
        length += len(held_out) - 1
        for order in ORDERS:
            bits[f"order {order}"] += ngram_bits(training, held_out, order)
        bits["lzma"] += compressed_bits(training.astype(np.uint8).tobytes(), held_out.astype(np.uint8).tobytes())
    for name, value in bits.items():
        print(f"{name}: {value / length:.3f} bits per byte over {length:,} bytes")


def _bytes(part: Any, language: int) -> np.ndarray:
    return part.tokens[part.begins[language] : part.ends[language]].astype(np.int64)


if __name__ == "__main__":
    main(sys.argv[1:])
