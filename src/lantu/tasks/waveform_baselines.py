"""What counting predicts of a waveform: the unigram and the bigram of its mu-law codes."""

from collections.abc import Mapping, Sequence

import numpy as np

CLASSES = 256


def bits_of_counts(codes: Mapping[str, Sequence[np.ndarray]], *, order: int) -> dict[str, float]:
    """Bits per sample of "val" and "test", with relative frequencies of "train" plus one.

    Args:
        codes: of each split the recordings' codes (samples,), whole numbers from 0 to 255.
        order: 1: each sample by itself; 2: given the one before it, silence (128) before the first.
    """
    counts = _counted(codes["train"], order)
    log = np.log2(counts / counts.sum(axis=-1, keepdims=True))
    found = {}
    for split in ("val", "test"):
        if split in codes:
            seen = _counted(codes[split], order) - 1
            found[split] = float(-(seen * log).sum() / seen.sum())
    return found


def _counted(recordings: Sequence[np.ndarray], order: int) -> np.ndarray:
    """(256,), or (256, 256) for pairs, beginning from one each."""
    if order == 1:
        return np.sum([np.bincount(each, minlength=CLASSES) for each in recordings], axis=0) + 1.0
    counts = np.ones(CLASSES * CLASSES)
    for each in recordings:
        before = np.concatenate([[128], each[:-1]]).astype(np.int64)
        counts += np.bincount(before * CLASSES + each, minlength=CLASSES * CLASSES)
    return counts.reshape(CLASSES, CLASSES)
