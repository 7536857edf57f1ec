"""A class from several inputs: a picture, a text, a recording, some of which a row may lack."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lantu.data.file_table import find_files
from lantu.data.image.augment import Augment
from lantu.data.image.sent_picture import sent_file
from lantu.data.multimodal.input_kinds import Audio, Column, Input, Pictures, Texts, missing_cell
from lantu.data.multimodal.mixed_examples import MixedExamples, without_mixing
from lantu.data.multimodal.pairs import joined
from lantu.data.read_table import read_table
from lantu.data.sources import Raw
from lantu.data.supervised import SupervisedDataModule, linear_model
from lantu.errors import UserError
from lantu.suggestions import did_you_mean

CELLS = "cells_of_"
"""Before an input's name: the column with a row's place among what was read."""


class MultimodalDataModule(SupervisedDataModule):
    """Rows with a target and any of a picture, a text and a recording.

    Batches are x = {"image": float32 (N, C, H, W), "text": int64 (N, L), "audio": float32 (N, 1, mels, frames)}, zeros
    where a row lacks one, with `image_present` bool (N,) and so on; and the target. Rows that lack all are left out.

    Args:
        path: of a table of your own, which the source reads.
        image, audio: the columns with files; None: there are none.
        text: the columns whose texts are joined; None: there are none.
        seen_texts: keep, or drop: validation and test rows whose text a training row has are left out. Where a text
            names a collection, a model could otherwise memorise it.
        hide: probability that a training row loses an input, so that a network learns to answer from the others.
        size, mean, std, max_unreadable: of `Pictures`.
        level, vocab_size, min_count, max_length, tokenizer: of `Texts`.
        sample_rate, seconds, mels, window, hop: of `Audio`.
        augment: changes training pictures at random.
        options: of `SupervisedDataModule`.
    """

    unit = "rows"

    def __init__(
        self,
        *,
        source: Callable[[], Raw],
        path: str | None = None,
        image: str | None = None,
        text: str | list[str] | None = None,
        audio: str | None = None,
        seen_texts: str = "keep",
        hide: float = 0.0,
        size: int | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        max_unreadable: float = 0.25,
        level: str = "word",
        vocab_size: int = 20_000,
        min_count: int = 2,
        max_length: int | None = None,
        tokenizer: str | None = None,
        sample_rate: int | None = None,
        seconds: float | None = None,
        mels: int = 40,
        window: float = 0.025,
        hop: float = 0.010,
        augment: Augment | None = None,
        **options: Any,
    ) -> None:
        super().__init__(source=source, **options)
        if seen_texts not in ("keep", "drop"):
            raise UserError(
                f"`data.seen_texts={seen_texts}`: held-out rows with a text of training: keep or drop them."
            )
        self.columns: dict[str, list[str]] = {}
        self.inputs: dict[str, Input] = {}
        if image is not None:
            self.columns["image"] = [image]
            self.inputs["image"] = Pictures(size=size, mean=mean, std=std, max_unreadable=max_unreadable)
        if text is not None:
            self.columns["text"] = [text] if isinstance(text, str) else list(text)
            self.inputs["text"] = Texts(
                level=level, vocab_size=vocab_size, min_count=min_count, max_length=max_length, tokenizer=tokenizer
            )
        if audio is not None:
            self.columns["audio"] = [audio]
            self.inputs["audio"] = Audio(sample_rate=sample_rate, seconds=seconds, mels=mels, window=window, hop=hop)
        if not self.inputs:
            raise UserError(
                "data of several inputs need a column at least: `data.image=`, `data.text=` or `data.audio=`."
            )
        self.seen_texts, self.hide = seen_texts, hide
        self.augment = without_mixing(augment)

    def read(self) -> None:
        super().read()
        self.spec["categories"] = self.spec["classes"]
        train = self.splits["train"]
        assert isinstance(train, MixedExamples)
        train.augment, train.hide = self.augment, self.hide

    def load(self, rows: pd.DataFrame, raw: Raw) -> np.ndarray:
        for name, columns in self.columns.items():
            for column in columns:
                if column not in rows:
                    near = did_you_mean(column, list(rows))
                    raise UserError(
                        f"`data.{name}={column}`: {raw.name} has no such column.{near} There are: {', '.join(rows)}."
                    )
        self._read: dict[str, Column] = {}
        for name, kind in self.inputs.items():
            state = self.learned.get(name)
            self._read[name] = kind.read(self._cells(rows, name), state, cache=self.cache, report=self.report)
            rows[CELLS + name] = np.arange(len(rows))
        some = np.asarray(np.any([read.present for read in self._read.values()], axis=0))
        if len(self._read) > 1:
            for name, read in self._read.items():
                self.report.note(int((~read.present & some).sum()), f"rows without {_called(name)}")
        self.report.note(int((~some).sum()), "rows without any input left out")
        return some

    def hashes(self, rows: pd.DataFrame) -> np.ndarray:
        found = pd.util.hash_array(rows[self.target].astype(str).to_numpy(dtype=object))
        for number, (name, column) in enumerate(self._read.items()):
            found = found ^ (column.hashes[rows[CELLS + name].to_numpy()] * np.uint64(2 * number + 1))
        return found

    def arranged(self, raw: Raw) -> Any:
        rows, split, target = super().arranged(raw)
        if self.seen_texts == "drop" and "text" in self._read:
            texts = self._read["text"].hashes[rows[f"{CELLS}text"].to_numpy()]
            seen = (split != "train") & (texts != 0) & np.isin(texts, texts[split == "train"])
            self.report.note(int(seen.sum()), "validation and test rows whose text a training row has left out")
            rows, split = rows[~seen].reset_index(drop=True), split[~seen]
            self.report.sizes = {name: int((split == name).sum()) for name in self.report.sizes}
            for name, size in self.report.sizes.items():
                if not size:
                    raise UserError(
                        f"`data.seen_texts=drop` leaves nothing in {name}: all of its texts are in training."
                    )
        return rows, split, target

    def learn(self, rows: pd.DataFrame) -> dict[str, Any]:
        return {name: kind.learn(self._read[name], rows[CELLS + name].to_numpy()) for name, kind in self.inputs.items()}

    def prepared(self, rows: pd.DataFrame, y: Tensor | None) -> Any:
        if not hasattr(self, "_parts"):
            self._parts = self._encoded(self._read)
        places = rows[CELLS + next(iter(self.inputs))].to_numpy()  # each input has the same
        return MixedExamples(self._parts, rows=places, targets=y, masks=True)

    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = {"kind": "multimodal", "modalities": list(self.inputs)}
        for name, kind in self.inputs.items():
            found |= kind.facts(self.learned[name])
        return found

    def schema(self) -> list[dict[str, str]]:
        return [{"name": name, "type": "string" if name == "text" else "binary"} for name in self.inputs]

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        """A table with the columns of training, or with columns image, text and audio; cells may be empty."""
        rows, _ = read_table(path.expanduser())
        given = {}
        for name in self.inputs:
            if name != "text" and self._has(rows, name):
                column = name if name in rows else self.columns[name][0]
                cells = rows[column].astype(object)
                filled = ~np.array([missing_cell(cell) for cell in cells])
                if filled.any() and isinstance(cells[filled].iloc[0], str):
                    cells.loc[filled] = find_files(cells[filled], path.expanduser().parent)
                given[name] = cells
        return self.loader(self._to_predict(rows.assign(**given), named=f"`input={path}`")), rows

    def examples_of(self, inputs: Any) -> MixedExamples:
        """A data frame with columns image and audio (encoded bytes, or base64 text of them) and text; any may lack."""
        rows = inputs.copy() if isinstance(inputs, pd.DataFrame) else pd.DataFrame(list(inputs))
        for name in ("image", "audio"):
            if name in rows:
                rows[name] = [None if missing_cell(cell) else sent_file(cell) for cell in rows[name]]
        return self._to_predict(rows, named="the request")

    def classical_features(self, split: str, rows: np.ndarray) -> tuple[Any, np.ndarray]:
        """Counts of the tokens, 8×8 pixels, and the mean and deviation of each mel band; zeros where one is missing."""
        from scipy.sparse import csr_matrix, hstack

        x, y = self.splits[split].__getitems__(rows.tolist())  # type: ignore[attr-defined]
        blocks = []
        if "text" in x:
            tokens, size = x["text"].numpy(), self.spec["vocab_size"]
            counts = np.zeros((len(tokens), size), dtype=np.float32)
            np.add.at(counts, (np.repeat(np.arange(len(tokens)), tokens.shape[1]), tokens.ravel()), 1)
            counts[:, self.learned["text"]["pad_id"]] = 0
            blocks.append(np.log1p(counts))
        if "image" in x:
            blocks.append(torch.nn.functional.adaptive_avg_pool2d(x["image"], 8).flatten(1).numpy())
        if "audio" in x:
            blocks.append(torch.cat([x["audio"].mean(-1), x["audio"].std(-1)], dim=2).flatten(1).numpy())
        return hstack([csr_matrix(block) for block in blocks]).tocsr(), y.numpy()

    def classical_model(self, *, classifies: bool, shape: tuple[int, int]) -> tuple[str, Any]:
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import MaxAbsScaler

        name, model = linear_model(classifies=classifies)
        descriptions = {"image": "8x8 pixels", "text": "counts of tokens", "audio": "mel statistics"}
        described = f"{name} regression on {' and '.join(descriptions[each] for each in self.inputs)}"
        return described, make_pipeline(MaxAbsScaler(), model)

    def _cells(self, rows: pd.DataFrame, name: str) -> pd.Series:
        columns = self.columns[name]
        return joined(rows, columns) if name == "text" else rows[columns[0]]

    def _has(self, rows: pd.DataFrame, name: str) -> bool:
        return name in rows or all(column in rows for column in self.columns[name])

    def _to_predict(self, rows: pd.DataFrame, *, named: str) -> MixedExamples:
        given = [name for name in self.inputs if self._has(rows, name)]
        if not given:
            input_names = " and ".join(f"`{name}`" for name in self.inputs)
            raise UserError(f"{named} has none of the columns {input_names}. There are: {', '.join(map(str, rows))}.")
        read = {}
        for name, kind in self.inputs.items():
            cells = pd.Series([None] * len(rows), dtype=object)
            if name in given:
                cells = rows[name] if name in rows else self._cells(rows, name)
            read[name] = kind.read(cells, self.learned[name], cache=self.cache, report=self.report)
        lost = np.flatnonzero(~np.any([column.present for column in read.values()], axis=0))
        if len(lost):
            raise UserError(f"{named}: row {lost[0]} has no input that can be read. Give it one, or leave the row out.")
        return MixedExamples(self._encoded(read), rows=np.arange(len(rows)), masks=True)

    def _encoded(self, read: dict[str, Column]) -> dict[str, Any]:
        return {
            name: (kind, read[name], kind.encode(read[name], self.learned[name]), self.learned[name])
            for name, kind in self.inputs.items()
        }


def _called(name: str) -> str:
    return {"image": "a picture", "text": "a text", "audio": "a recording"}[name]
