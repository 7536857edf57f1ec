"""Detokenize incrementally: from tokens to the characters that no later token changes, and to the end of the text."""

from collections.abc import Callable, Sequence

PARTIAL = "\N{REPLACEMENT CHARACTER}"
"""What a decoder answers for a character of which some bytes are still to come."""
TAIL = 16
"""Tokens of the prompt that new ones are decoded with: how words are joined depends on the one before."""


class IncrementalDetokenizer:
    """The text that follows one prompt, as its tokens are generated.

    Args:
        decode: from token ids to text.
        prompt: its token ids.
        stop: texts; the first of them to be generated ends the text and is left out.
        end_id: a token that ends the text and is left out.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], prompt: list[int], *, stop: Sequence[str], end_id: int | None
    ) -> None:
        self.decode = decode
        self.stop = stop
        self.end_id = end_id
        self.ended = False
        self._tokens = prompt[-TAIL:]
        self._before = len(decode(self._tokens))
        self._text = ""
        self._shown = 0
        # characters that may be the start of a stop text are not final yet
        self._held = max((len(text) for text in stop), default=1) - 1

    def add(self, token: int) -> str:
        """Add a token; returns the characters that it makes final."""
        if token == self.end_id:
            return self.rest()
        self._tokens.append(token)
        self._text = self.decode(self._tokens)[self._before :]
        if found := [place for each in self.stop if (place := self._text.find(each)) >= 0]:
            self._text = self._text[: min(found)]
            return self.rest()
        return self._up_to(len(self._text.rstrip(PARTIAL)) - self._held)

    def rest(self) -> str:
        """End the text; returns the characters that were held back."""
        self.ended = True
        return self._up_to(len(self._text))

    def _up_to(self, place: int) -> str:
        begin, self._shown = self._shown, max(place, self._shown)
        return self._text[begin : self._shown]
