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
END_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")
"""What tokenizers call the token at a document's end: GPT-2's, LLaMA 3's, ours and LLaMA's, Gemma's, BERT's."""


class Vocabulary(Protocol):
    """What data modules ask of a vocabulary."""

    size: int
    end: int | None
    """The token that stands between documents; None: there is none."""
    divides: bool
    """Whether a text may be cut between words (`lantu.data.text.corpus.pieces`), its pieces giving the same tokens."""

    def encode(self, text: str) -> np.ndarray:
        """Token numbers (T,) of a text."""

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Token numbers of many texts, with all cores where the level allows."""

    def encode_pieces(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token numbers (T,) of pieces of running text, with all cores where the level allows.

        Names of special tokens are read as the characters that they are made of, and none are added.
        """

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of token numbers."""

    def state(self) -> dict[str, Any]:
        """As plain values."""


class Characters:
    """One token for each character of the training text, in code-point order.

    Args:
        unknown: one more token, for all other characters.
        end: one more token, for the end of a document.
    """

    divides = True

    def __init__(self, characters: str, *, unknown: bool = False, end: bool = False) -> None:
        self.characters = characters
        self.unknown = unknown
        self.size = len(characters) + unknown + end
        self.end = self.size - 1 if end else None
        points = _code_points(characters)
        last = int(points.max(initial=0))
        self._tokens = np.full(last + 2, len(characters), dtype=np.int32)  # of each code point; all above are alike
        self._tokens[points] = np.arange(len(characters))

    def encode(self, text: str) -> np.ndarray:
        return self._encoded(text).astype(np.int64)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self._encoded(text).tolist() for text in texts]

    def encode_pieces(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self._encoded(text) for text in texts]

    def decode(self, tokens: Iterable[int]) -> str:
        letters = [*self.characters, *(["\ufffd"] * self.unknown), *(["\n"] * (self.end is not None))]
        return "".join(letters[token] for token in tokens)

    def state(self) -> dict[str, Any]:
        return {
            "level": "char",
            "characters": self.characters,
            "unknown": self.unknown,
            "end": self.end is not None,
        }

    def _encoded(self, text: str) -> np.ndarray:
        points = _code_points(text)
        tokens = self._tokens[np.minimum(points, len(self._tokens) - 1)]
        if not self.unknown and (strange := tokens == len(self.characters)).any():
            raise UserError(f"The character {text[int(np.argmax(strange))]!r} does not occur in the training text.")
        return tokens


class Bytes:
    """One token for each of the 256 bytes of UTF-8: any text in any script, with nothing to learn.

    Args:
        end: one more token, for the end of a document.
    """

    divides = True

    def __init__(self, *, end: bool = False) -> None:
        self.size = 256 + end
        self.end = 256 if end else None

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode("utf-8")) for text in texts]

    def encode_pieces(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.frombuffer(text.encode("utf-8"), dtype=np.uint8) for text in texts]

    def decode(self, tokens: Iterable[int]) -> str:
        letters = bytes(10 if token == self.end else int(token) for token in tokens)
        return letters.decode("utf-8", errors="replace")

    def state(self) -> dict[str, Any]:
        return {"level": "byte", "end": self.end is not None}


class Subwords:
    """A tokenizer of the `tokenizers` library: words, byte pairs (Sennrich et al. 2016), WordPiece, or characters."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.size = tokenizer.get_vocab_size()
        ends = [number for name in END_NAMES if (number := tokenizer.token_to_id(name)) is not None]
        self.end: int | None = ends[0] if ends else None
        self.divides = _divides(tokenizer)

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

    def with_special(self, names: Iterable[str]) -> "Subwords":
        """The same, and tokens that are no text; `encode` knows them by their names."""
        import tokenizers

        more = tokenizers.Tokenizer.from_str(self.tokenizer.to_str())
        more.add_special_tokens(list(names))
        return Subwords(more)

    def encode(self, text: str) -> np.ndarray:
        return np.array(self.tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [each.ids for each in self.tokenizer.encode_batch(list(texts))]

    def encode_pieces(self, texts: Sequence[str]) -> list[np.ndarray]:
        before = self.tokenizer.encode_special_tokens
        self.tokenizer.encode_special_tokens = True  # `</s>` in a text is markup, not the end of a document
        try:
            # fast: without each token's offsets in the text, which are not needed here
            found = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        finally:
            self.tokenizer.encode_special_tokens = before
        return [np.array(each.ids, dtype=np.uint32) for each in found]

    def decode(self, tokens: Iterable[int]) -> str:
        return self.tokenizer.decode(list(tokens), skip_special_tokens=False)

    def state(self) -> dict[str, Any]:
        return {"level": "tokenizer", "json": self.tokenizer.to_str()}


def asked_for(
    texts: Iterable[str], *, tokenizer: str | None, level: str, size: int, min_count: int, end: bool = False
) -> Bytes | Subwords:
    """What the options of a data module ask for: the tokenizer that they name, bytes, or what the texts teach.

    Args:
        texts: of the training part; not read where there is nothing to learn.
        tokenizer: as of `Subwords.loaded`; level, size and min_count then do not count.
        size, min_count: as of `Subwords.of`.
        end: bytes get one more token, for the end of a document; others have theirs.
    """
    if tokenizer is not None:
        return Subwords.loaded(tokenizer)
    return Bytes(end=end) if level == "byte" else Subwords.of(texts, level=level, size=size, min_count=min_count)


def restored(state: dict[str, Any]) -> Vocabulary:
    """The vocabulary that a state describes."""
    if state["level"] == "char":
        return Characters(state["characters"], unknown=state["unknown"], end=state.get("end", False))
    if state["level"] == "byte":
        return Bytes(end=state.get("end", False))
    import tokenizers

    return Subwords(tokenizers.Tokenizer.from_str(state["json"]))


def check_level(level: str, allowed: tuple[str, ...] = LEVELS) -> None:
    """Raise a `UserError` for a level that is none of these."""
    if level not in allowed:
        raise UserError(f"`data.level={level}`: the levels are {', '.join(allowed)}.")


def different(texts: Iterable[str]) -> str:
    """Each character of the texts once, in code-point order."""
    seen = np.zeros(0x110000, dtype=bool)
    for text in texts:
        seen[_code_points(text)] = True
    return "".join(map(chr, np.flatnonzero(seen)))


def _divides(tokenizer: Any) -> bool:
    """Whether a tokenizer begins a word at every space or line's end between words, whatever else the text holds."""
    words = tokenizer.pre_tokenizer
    if tokenizer.truncation or tokenizer.padding:
        return False
    if type(words).__name__ == "ByteLevel":  # GPT-2's expression
        return words.use_regex and not words.add_prefix_space
    return type(words).__name__ in ("BertPreTokenizer", "Whitespace")


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype=np.uint32)
