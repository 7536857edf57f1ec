"""When each word of a recognised text was said, by forced alignment with the scores of its characters."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lantu.data.audio.symbols import divided
from lantu.tasks.ctc_decoding import BLANK


def word_times(log_probs: Tensor, text: str, characters: Sequence[str], *, seconds: float) -> list[dict[str, Any]]:
    """Each word with its start and end in seconds, and its confidence: the mean probability of its characters.

    Connectionist temporal classification trains a character to be seen somewhere while it is said, not for how long,
    so the times are those of the characters' peaks.

    Args:
        log_probs: (T, symbols) of a recording, the blank first.
        text: words parted by single spaces.
        characters: the symbols from 1 on, characters, pieces of words or whole words.
        seconds: of a frame.
    """
    from torchaudio.functional import forced_align, merge_tokens

    number = {sign: place for place, sign in enumerate(characters, start=BLANK + 1)}
    spoken = divided(text, number)
    if not spoken or len(spoken) + _repeats(spoken) > len(log_probs):
        return []
    targets = torch.tensor([[number[sign] for sign in spoken]], dtype=torch.int32)
    path, scores = forced_align(log_probs[None].contiguous(), targets, blank=BLANK)
    spans = merge_tokens(path[0], scores[0].exp(), blank=BLANK)
    found: list[dict[str, Any]] = []
    begun = False
    for symbol, span in zip(spoken, spans, strict=True):
        sign = symbol.strip()
        if symbol.startswith(" "):
            begun = False
        if not sign:
            continue
        if not begun:
            found.append({"word": "", "start": round(span.start * seconds, 3), "scores": []})
            begun = True
        word = found[-1]
        word["word"] += sign
        word["end"] = round(span.end * seconds, 3)
        word["scores"].append(float(span.score))
        begun = not symbol.endswith(" ")
    return [
        {"word": each["word"], "start": each["start"], "end": each["end"], "confidence": _mean(each["scores"])}
        for each in found
    ]


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 4)


def _repeats(signs: list[str]) -> int:
    """Signs that follow the same one: a blank has to part them."""
    return sum(first == second for first, second in itertools.pairwise(signs))
