"""Pictures with a text each, for contrastive learning and retrieval."""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lantu.data.data_module import DataModule
from lantu.data.encoding import read_text
from lantu.data.file_table import find_files
from lantu.data.files import IMAGE_ENDINGS
from lantu.data.image.augment import Augment
from lantu.data.image.image_folder import image_files
from lantu.data.image.image_table import FILE_COLUMNS
from lantu.data.image.sent_picture import sent_file
from lantu.data.labels import Classes
from lantu.data.multimodal.input_kinds import Input, Pictures, Texts, encoded_texts, missing_cell
from lantu.data.multimodal.mixed_examples import MixedExamples, without_mixing
from lantu.data.read_table import READERS, read_table
from lantu.data.sources import Raw
from lantu.data.splitting import SPLITS, check_sizes, completed
from lantu.errors import UserError
from lantu.notices import warn_once
from lantu.suggestions import did_you_mean


class ImageTextDataModule(DataModule):
    """Pairs of a picture and a text.

    Batches are x = {"image": float32 (N, C, H, W), "text": int64 (N, L)} and y = {"text": a number for each different
    text (N,), "class": class numbers (N,), -1 where there is none}. To predict, batches hold pictures or texts alone.

    Several pictures may have the same text: a collection whose title is that of each picture. A held-out text that was
    trained on, or that several pictures share, says little of retrieval. So by default such pairs are left out of
    validation and test, and counted.

    Args:
        source: gives the rows.
        path: of a table of your own, which the source reads.
        image: the column with the pictures.
        text: the columns whose texts are joined to that of a pair; lists are joined by spaces.
        category: a column with a class, for zero-shot classification; None: there is none.
        duplicates: drop: held-out pairs whose text a training pair or an earlier held-out pair has, pairs that occur
            twice in training, and training pairs with a held-out picture are left out. keep: all stay.
        size, mean, std, max_unreadable: of `Pictures`.
        level, vocab_size, min_count, max_length, tokenizer: of `Texts`.
        augment: changes training pictures at random.
        options: of `DataModule`.
    """

    unit = "pairs"

    def __init__(
        self,
        *,
        source: Callable[[], Raw],
        path: str | None = None,
        image: str = "image",
        text: str | list[str] = "text",
        category: str | None = None,
        duplicates: str = "drop",
        size: int | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        max_unreadable: float = 0.25,
        level: str = "bpe",
        vocab_size: int = 2000,
        min_count: int = 2,
        max_length: int | None = None,
        tokenizer: str | None = None,
        augment: Augment | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if duplicates not in ("drop", "keep"):
            raise UserError(
                f"`data.duplicates={duplicates}`: pairs that occur twice can be dropped or kept: drop, keep."
            )
        self.source, self.image, self.category, self.duplicates = source, image, category, duplicates
        self.text = [text] if isinstance(text, str) else list(text)
        self.augment = without_mixing(augment)
        self.pictures = Pictures(size=size, mean=mean, std=std, max_unreadable=max_unreadable)
        self.texts = Texts(
            level=level, vocab_size=vocab_size, min_count=min_count, max_length=max_length, tokenizer=tokenizer
        )

    def read(self) -> None:
        raw = self.source()
        self._origin = raw
        for option, column in (
            ("image", self.image),
            *(("text", each) for each in self.text),
            ("category", self.category),
        ):
            if column is not None and column not in raw.rows:
                near = did_you_mean(column, list(raw.rows))
                raise UserError(
                    f"`data.{option}={column}`: {raw.name} has no such column.{near} There are: {', '.join(raw.rows)}."
                )
        known = self.learned or None
        pictures = self.pictures.read(
            raw.rows[self.image], known and known["image"], cache=self.cache, report=self.report
        )
        texts = self.texts.read(
            joined(raw.rows, self.text), known and known["text"], cache=self.cache, report=self.report
        )
        self.report.note(int((~texts.present).sum()), "rows without a text left out")
        kept = pictures.present & texts.present
        split = completed(raw.split, self.shares, strata=np.zeros(len(kept), dtype=int), seed=self.split_seed)
        if self.duplicates == "drop":
            kept &= self._distinct(kept, split, pictures=pictures.hashes, texts=texts.hashes)
        check_sizes(split[kept], self.shares, unit=self.unit)
        training = np.flatnonzero(kept & (split == "train"))
        categories = raw.rows[self.category] if self.category else None
        if known is None:
            unique = dict.fromkeys(texts.values[row] for row in training)
            self.learned = {
                "image": self.pictures.learn(pictures, training),
                "text": self.texts.learn(texts, training),
                "texts": list(unique),
                "classes": Classes.of(categories.iloc[training].dropna()).names if categories is not None else [],
            }
        classes = np.full(len(kept), -1)
        if categories is not None:
            named = categories.notna().to_numpy()
            classes[named] = Classes(self.learned["classes"]).codes(categories[named])
        numbers = pd.factorize(texts.hashes)[0]
        parts = {
            kind.name: (kind, column, kind.encode(column, self.learned[kind.name]), self.learned[kind.name])
            for kind, column in ((self.pictures, pictures), (self.texts, texts))
        }
        for name in SPLITS:
            rows = np.flatnonzero(kept & (split == name))
            if len(rows):
                targets = {"text": torch.from_numpy(numbers[rows]), "class": torch.from_numpy(classes[rows])}
                augment = self.augment if name == "train" else None
                self.splits[name] = MixedExamples(parts, rows=rows, targets=targets, augment=augment)
                content = (pictures.hashes[rows] ^ texts.hashes[rows]).tobytes() + classes[rows].tobytes()
                self.fingerprints[name] = blake2b(content, digest_size=16).hexdigest()
        self._raw_texts = texts.values
        self.spec = {
            "kind": "image_text",
            **self.pictures.facts(self.learned["image"]),
            **self.texts.facts(self.learned["text"]),
            "class_names": self.learned["classes"],
        }
        different = len(np.unique(texts.hashes[kept]))
        self.report.title = f"{raw.name}: {int(kept.sum()):,} pictures with {different:,} different texts"

    def texts_of(self, split: str) -> list[str]:
        """The text of each pair of a split, as it was read."""
        examples = self.splits[split]
        assert isinstance(examples, MixedExamples)
        return [self._raw_texts[row] for row in examples.rows]

    def encoded(self, texts: list[str]) -> Tensor:
        """Token ids (N, L) of texts, as a network takes them."""
        return torch.from_numpy(encoded_texts(texts, self.learned["text"]))

    @property
    def known_texts(self) -> list[str]:
        """The different texts of the training split."""
        return self.learned["texts"]

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        """Pictures (a file, a folder, a table with a column of files), or texts (a .txt file, a table)."""
        path = path.expanduser()
        if path.suffix.lower() == ".txt" and path.is_file():
            rows = pd.DataFrame({"text": [line for line in read_text(path).splitlines() if line.strip()]})
        elif path.suffix.lower() in READERS:
            rows, _ = read_table(path)
            lower = {str(name).lower(): name for name in rows}
            files = next((lower[name] for name in (self.image, *FILE_COLUMNS) if name in lower), None)
            if files is not None:
                rows = rows.assign(image=find_files(rows[files], path.parent).to_numpy()).reset_index(drop=True)
            elif "text" not in rows and all(each in rows for each in self.text):
                rows = rows.assign(text=joined(rows, self.text))
        else:
            found = [path] if path.is_file() else image_files(path)
            rows = pd.DataFrame({"image": [str(file) for file in found]})
        if not len(rows):
            raise UserError(f"`input={path}`: there are neither pictures ({', '.join(IMAGE_ENDINGS)}) nor texts.")
        examples, readable = self._to_predict(rows, named=f"`input={path}`")
        if not readable.any():
            raise UserError(f"`input={path}`: no picture can be read.")
        if not readable.all():
            warn_once(f"{int((~readable).sum())} of {len(rows)} rows cannot be read and get no answer.")
            # the number of its example, by which its answer is found
            rows.index = pd.Index(np.where(readable, readable.cumsum() - 1, -1))
        return self.loader(examples), rows

    def examples_of(self, inputs: Any) -> MixedExamples:
        """A data frame with a column `image` (encoded bytes, base64 text of them, arrays), a column `text`, or both."""
        rows = inputs if isinstance(inputs, pd.DataFrame) else pd.DataFrame({"image": list(inputs)})
        if "image" in rows:
            rows = rows.assign(image=[sent_file(cell) for cell in rows["image"]])
        examples, readable = self._to_predict(rows, named="the request")
        if not readable.all():
            raise UserError(f"row {int(np.flatnonzero(~readable)[0])} of the request cannot be read, or is empty.")
        return examples

    def schema(self) -> list[dict[str, str]]:
        return [{"name": "image", "type": "binary"}, {"name": "text", "type": "string"}]

    def origin(self) -> dict[str, Any]:
        source = str(self._origin.source.get("uri") or self._origin.source.get("path", ""))
        return {"name": self._origin.name, "source_type": self._origin.source_type, "source": source, "schema": None}

    def _to_predict(self, rows: pd.DataFrame, *, named: str) -> tuple[MixedExamples, np.ndarray]:
        """The examples of the rows that can be read, and which these are (N,)."""
        kinds: list[tuple[str, Input]] = [("image", self.pictures), ("text", self.texts)]
        given = [
            (column, kind) for column, kind in kinds if column in rows and not all(map(missing_cell, rows[column]))
        ]
        if not given:
            raise UserError(f"{named} has neither a column `image` nor a column `text`: {', '.join(map(str, rows))}.")
        parts, readable = {}, np.ones(len(rows), dtype=bool)
        for column, kind in given:
            state = self.learned[kind.name]
            read = kind.read(rows[column], state, cache=self.cache, report=self.report)
            readable &= read.present
            parts[kind.name] = (kind, read, kind.encode(read, state), state)
        return MixedExamples(parts, rows=np.flatnonzero(readable)), readable

    def _distinct(self, kept: np.ndarray, split: np.ndarray, *, pictures: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Which pairs (N,) stay; says how many are left out, and why."""
        training, held_out = kept & (split == "train"), kept & (split != "train")
        again = _repeats(pd.DataFrame({"picture": pictures, "text": texts}), among=training)
        shown = training & np.isin(pictures, pictures[held_out]) & ~again
        self.report.note(int(again.sum()), "training pairs that occur twice left out")
        self.report.note(int(shown.sum()), "training pairs with a held-out picture left out")
        training = training & ~again & ~shown
        seen = held_out & np.isin(texts, texts[training])
        self.report.note(int(seen.sum()), "validation and test pairs whose text a training pair has left out")
        rest = held_out & ~seen
        shared = _repeats(pd.DataFrame({"text": texts, "part": split}), among=rest)
        self.report.note(int(shared.sum()), "validation and test pairs with the text of an earlier one left out")
        return training | (rest & ~shared)


def joined(rows: pd.DataFrame, columns: list[str]) -> pd.Series:
    """The texts of several columns as one; None where all are missing."""

    def of(row: tuple[Any, ...]) -> str | None:
        parts = [" ".join(map(str, cell)) if isinstance(cell, list | tuple | np.ndarray) else cell for cell in row]
        return ". ".join(str(part).strip() for part in parts if not missing_cell(part)) or None

    return pd.Series([of(row) for row in rows[columns].itertuples(index=False)], index=rows.index, dtype=object)


def _repeats(rows: pd.DataFrame, *, among: np.ndarray) -> np.ndarray:
    """Which of some rows (N,) equal an earlier one of them."""
    found = np.zeros(len(rows), dtype=bool)
    found[np.flatnonzero(among)] = rows[among].duplicated().to_numpy()
    return found
