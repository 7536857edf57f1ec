"""Mel-cepstral distortion: how far two recordings' spectra are apart, in decibels (Kubichek 1993)."""

import numpy as np
import torch

from lantu.data.audio.features import LogMel

COEFFICIENTS = 13


def mel_cepstral_distortion(first: np.ndarray, second: np.ndarray, *, rate: int, hop: int) -> float:
    """The mean distance over frames that dynamic time warping pairs.

    Mel-cepstra are cosine transforms of 40 log-mel bands; the first 13 without the zeroth, which is loudness, count.

    Args:
        first, second: waveforms (samples,).
        rate: samples per second.
        hop: samples of a frame.
    """
    from scipy.spatial.distance import cdist

    apart = cdist(cepstra(first, rate=rate, hop=hop), cepstra(second, rate=rate, hop=hop))
    return float(20 / np.log(10) * np.sqrt(2) * warped_mean(apart))


def cepstra(wave: np.ndarray, *, rate: int, hop: int) -> np.ndarray:
    """Mel-cepstra 1 to 13 of the log amplitude of each frame (frames, 13)."""
    from scipy.fft import dct

    log_power = LogMel(rate=rate, mels=40, hop=hop / rate)(torch.from_numpy(wave)[None])[0].numpy()
    return dct(log_power / 2, type=2, axis=0)[1 : COEFFICIENTS + 1].T / (2 * len(log_power))


def warped_mean(apart: np.ndarray) -> float:
    """The mean of the distances (A, B) along the path through them with the least sum (Sakoe and Chiba 1978)."""
    rows, columns = apart.shape
    costs = np.full((rows + 1, columns + 1), np.inf)
    steps = np.zeros((rows + 1, columns + 1), dtype=int)
    costs[0, 0] = 0.0
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            before = min((row - 1, column - 1), (row - 1, column), (row, column - 1), key=costs.__getitem__)
            costs[row, column] = costs[before] + apart[row - 1, column - 1]
            steps[row, column] = steps[before] + 1
    return float(costs[rows, columns] / steps[rows, columns])
