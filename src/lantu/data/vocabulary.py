"""From text to token numbers and back: characters, bytes, words or pieces of words."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lantu.errors import UserError

LEVELS = ("char", "byte", "word", "bpe", "wordpiece")
PAD, UNKNOWN, MASK = "<pad>", "<unk>", "<mask>"
ENDS = ("<s>", "</s>")
"""Stand before and after a text where a network is told so."""


class Vocabulary(Protocol):
    """What data modules ask of a vocabulary."""

    size: int

    def encode(self, text: str) -> np.ndarray:
        """Token numbers (T,) of a text."""

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of many texts, with all cores where the level allows."""

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of token numbers."""

    def state(self) -> dict[str, Any]:
        """As plain values."""


class Characters:
    """One token for each character of the training text, in code-point order; one more for all others if asked for."""

    def __init__(self, characters: str, *, unknown: bool = False) -> None:
        self.characters = characters
        self.unknown = unknown
        self.size = len(characters) + unknown
        self._points = _code_points(characters)

    @classmethod
    def of(cls, text: str, *, unknown: bool = False) -> "Characters":
        return cls("".join(map(chr, np.unique(_code_points(text)))), unknown=unknown)

    def encode(self, text: str) -> np.ndarray:
        points = _code_points(text)
        places = np.searchsorted(self._points, points).clip(max=len(self._points) - 1)
        strange = self._points[places] != points
        if strange.any():
            if not self.unknown:
                raise UserError(f"The character {text[int(np.argmax(strange))]!r} does not occur in the training text.")
            places[strange] = self.size - 1
        return places

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text).tolist() for text in texts]

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(self.characters[token] if token < len(self.characters) else "\ufffd" for token in tokens)

    def state(self) -> dict[str, Any]:
        return {"level": "char", "characters": self.characters, "unknown": self.unknown}


class Bytes:
    """One token for each of the 256 bytes of UTF-8: any text in any script, with nothing to learn."""

    size = 256

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode("utf-8")) for text in texts]

    def decode(self, tokens: Iterable[int]) -> str:
        return bytes(int(token) for token in tokens).decode("utf-8", errors="replace")

    def state(self) -> dict[str, Any]:
        return {"level": "byte"}


class Subwords:
    """A tokenizer of the `tokenizers` library: words, byte pairs (Sennrich et al. 2016), WordPiece, or characters."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.size = tokenizer.get_vocab_size()

    @classmethod
    def of(cls, texts: Iterable[str], *, level: str, size: int, min_count: int) -> "Subwords":
        """Learn at most `size` tokens, each seen at least `min_count` times; 0 pads and 1 is what is not known."""
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

        options: dict[str, Any] = {"vocab_size": size, "min_frequency": min_count, "show_progress": False}
        if level == "bpe":
            tokenizer = tokenizers.Tokenizer(models.BPE(unk_token=None))
            tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            tokenizer.decoder = decoders.ByteLevel()
            alphabet = pre_tokenizers.ByteLevel.alphabet()  # any text can be written in bytes
            trainer: Any = trainers.BpeTrainer(special_tokens=[PAD, MASK, *ENDS], initial_alphabet=alphabet, **options)
        elif level == "char":
            tokenizer = tokenizers.Tokenizer(models.WordLevel(unk_token=UNKNOWN))
            tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
            tokenizer.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
            tokenizer.decoder = decoders.Fuse()
            trainer = trainers.WordLevelTrainer(special_tokens=[PAD, UNKNOWN, MASK, *ENDS], **options)
        else:
            words = level == "word"
            model = models.WordLevel(unk_token=UNKNOWN) if words else models.WordPiece(unk_token=UNKNOWN)
            tokenizer = tokenizers.Tokenizer(model)
            tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
            tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
            if not words:
                tokenizer.decoder = decoders.WordPiece()
            kind: Any = trainers.WordLevelTrainer if words else trainers.WordPieceTrainer
            trainer = kind(special_tokens=[PAD, UNKNOWN, MASK, *ENDS], **options)
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer)

    @classmethod
    def loaded(cls, name: str) -> "Subwords":
        """A tokenizer.json file, a folder that holds one, or a model of the hub.

        Raises:
            UserError: nothing of that name.
        """
        import tokenizers

        place = Path(name).expanduser()
        file = place / "tokenizer.json" if place.is_dir() else place
        try:
            if file.is_file():
                return cls(tokenizers.Tokenizer.from_file(str(file)))
            return cls(tokenizers.Tokenizer.from_pretrained(name))
        except Exception as error:  # the library raises bare Exceptions for bad files and for the network
            raise UserError(
                f"`data.tokenizer={name}`: no tokenizer.json file, no folder with one, and not to be had from the hub "
                f"({str(error).splitlines()[0]})."
            ) from error

    def encode(self, text: str) -> np.ndarray:
        return np.array(self.tokenizer.encode(text).ids, dtype=np.int64)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [each.ids for each in self.tokenizer.encode_batch(list(texts))]

    def decode(self, tokens: Iterable[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=False)

    def state(self) -> dict[str, Any]:
        return {"level": "tokenizer", "json": self.tokenizer.to_str()}


def restored(state: dict[str, Any]) -> Vocabulary:
    """The vocabulary that a state describes."""
    if state["level"] == "char":
        return Characters(state["characters"], unknown=state["unknown"])
    if state["level"] == "byte":
        return Bytes()
    import tokenizers

    return Subwords(tokenizers.Tokenizer.from_str(state["json"]))


def check_level(level: str, allowed: tuple[str, ...] = LEVELS) -> None:
    """Raise a `UserError` for a level that is none of these."""
    if level not in allowed:
        raise UserError(f"`data.level={level}`: the levels are {', '.join(allowed)}.")


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
