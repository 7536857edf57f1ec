"""Texts of commands with their slots: what a recogniser has written down, straight to meaning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lantu.data.audio.utterances import normalised
from lantu.data.batches import Examples
from lantu.data.multimodal.input_kinds import Column, Texts
from lantu.data.multimodal.slot_data_module import SlotDataModule
from lantu.data.read_table import read_table
from lantu.data.sources import Raw
from lantu.errors import UserError


class SlotTextDataModule(SlotDataModule):
    """Texts of commands with their slots, such as what a recogniser has written down.

    Batches are x int64 (N, L), the tokens of texts padded on the right, and y as of `SlotDataModule`.

    Args:
        slots, source, intent, prefixes: as of `SlotDataModule`.
        text: the column with the texts.
        level, vocab_size, min_count, max_length, tokenizer: as of `TextDataModule`.
        options: of `DataModule`.
    """

    unit = "texts"
    takes_recordings = False

    def __init__(
        self,
        *,
        slots: list[str],
        source: Callable[[], Raw],
        text: str = "transcription",
        intent: str | None = None,
        prefixes: list[str] | None = None,
        level: str = "char",
        vocab_size: int = 2000,
        min_count: int = 1,
        max_length: int | None = None,
        tokenizer: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(slots=slots, source=source, audio=text, intent=intent, prefixes=prefixes, **options)
        self.kind = Texts(
            level=level, vocab_size=vocab_size, min_count=min_count, max_length=max_length, tokenizer=tokenizer
        )

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        rows, _ = read_table(path.expanduser())
        return self.loader(self.examples_of(rows)), rows

    def examples_of(self, inputs: Any) -> Any:
        """A data frame with the column of the texts, or texts."""
        if isinstance(inputs, pd.DataFrame):
            if self.column not in inputs:
                raise UserError(f"the request has no column `{self.column}`: {', '.join(map(str, inputs))}.")
            inputs = inputs[self.column]
        return self._examples([str(text) for text in inputs], None)

    def schema(self) -> list[dict[str, str]]:
        return [{"name": self.column, "type": "string"}]

    def classical_features(self, split: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts of the tokens; the numbers of all choices (N, choices)."""
        tokens, y = self.splits[split].__getitems__(rows.tolist())  # type: ignore[attr-defined]
        counts = torch.zeros(len(tokens), self.spec["vocab_size"]).scatter_add_(1, tokens, torch.ones(tokens.shape))
        counts[:, self.learned["text"]["pad_id"]] = 0
        return counts.numpy(), y.numpy()

    def _finish(self, raw: Raw, waves: list[Any], *, kept: int, trained: bool) -> None:
        self.report.title = f"{raw.name}: {kept:,} texts, {len(self.slots)} slots"

    def _examples(self, texts: list[str], y: Tensor | None) -> Any:  # type: ignore[override]
        normal = [normalised(text) for text in texts]
        column = Column(normal, np.ones(len(texts), dtype=bool), np.zeros(len(texts), dtype=np.uint64))
        tokens = torch.from_numpy(self.kind.encode(column, self.learned["text"]))
        return Examples(tokens, y)

    def _facts(self) -> dict[str, Any]:
        facts = self.kind.facts(self.learned["text"])
        outputs = sum(sum(slot.sizes) for slot in self.slots)
        return {"kind": "text", **facts, "per_token": False, "places": facts["max_length"], "classes": outputs}
