"""Language identification: short pieces of text labelled with their language, from one text for each language."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from textwrap import wrap
from typing import Any

import pandas as pd

from lantu.data.sources import Raw
from lantu.data.splitting import SPLITS, shares
from lantu.data.text.multilingual import divided
from lantu.data.text.scripts import script_of
from lantu.data.text.text_data_module import TextDataModule
from lantu.errors import UserError


class IdentificationDataModule(TextDataModule):
    """Classify the language of a piece of text; see `stretches`. Batches are those of `TextDataModule`.

    Args:
        source: a row for each language with its text.
        language, text: the columns.
        length: maximum characters of a piece; cut between words where there are spaces.
        shortest: minimum characters of a language's text; languages with less are left out.
        options: of `TextDataModule`; `split` gives shares of each text.
    """

    def __init__(
        self,
        *,
        source: Callable[[], Raw],
        language: str = "language",
        text: str = "text",
        length: int = 100,
        shortest: int = 1000,
        split: dict[str, float] | None = None,
        **options: Any,
    ) -> None:
        if length < 1:
            raise UserError(f"`data.length={length}`: a stretch of text has at least 1 character.")
        self._whole = source
        self._stretches = partial(
            stretches, language=language, text=text, length=length, shortest=shortest, split=shares(split)
        )
        super().__init__(source=self._cut, text=text, target=language, task="classification", split=split, **options)
        self.languages: list[str] = []
        """Names of the languages, by class index; set by `setup`."""
        self.scripts: list[str] = []
        """The script of each language."""
        self.left_out: list[str] = []
        """Languages with too little text."""

    def read(self) -> None:
        super().read()
        self.languages = self.spec["class_names"]
        script = self._origin.rows.groupby(self.target)["script"].first()
        self.scripts = [script[language] for language in self.languages]
        rows = self._origin.rows[self._origin.split == "test"]
        shared = rows.groupby(self.text)[self.target].transform("nunique") > 1
        self.report.note(int(shared.sum()), "test texts that are the same in two languages or more")
        self.report.note(len(self.left_out), "languages with little text left out", names=self.left_out)

    def _cut(self) -> Raw:
        raw = self._whole()
        found = self._stretches(raw)
        self.left_out = sorted(set(raw.rows[self.target].astype(str)) - set(found.rows[self.target]))
        return found


def stretches(
    raw: Raw,
    *,
    language: str,
    text: str,
    length: int,
    shortest: int,
    split: dict[str, float],
) -> Raw:
    """Cut each language's text into pieces; return rows of language, piece and script.

    Each text is split in order, between paragraphs, at the same shares in every language. If the texts are translations
    of each other, test content of one language is in no other's training split, except near the borders. A paragraph
    that repeats within its language is kept only in the last of its splits.
    """
    for column in (text, language):
        if column not in raw.rows:
            raise UserError(f"{raw.name} has no column {column!r}; it has {', '.join(raw.rows.columns)}.")
    found: list[tuple[str, str, str, str]] = []
    for name, whole in raw.rows.groupby(language, sort=True)[text]:
        lines = [line for each in whole.dropna() for line in map(str.strip, each.splitlines()) if line]
        lines = [line for line in lines if any(map(str.isalpha, line))]
        if sum(map(len, lines)) < shortest:
            continue
        parts = divided(lines, split)
        script = script_of("".join(lines))
        later: set[str] = set()
        for part in reversed(SPLITS):
            joined = " ".join(line for line in parts[part] if line not in later)
            later |= set(parts[part])
            pieces = wrap(joined, length, break_on_hyphens=False)
            found += [(str(name), piece, script, part) for piece in pieces if any(map(str.isalpha, piece))]
    if not found:
        raise UserError(f"{raw.name}: no text has `data.shortest={shortest}` characters.")
    rows = pd.DataFrame(found, columns=[language, text, "script", "part"])
    return replace(raw, rows=rows.drop(columns="part"), split=rows["part"].to_numpy(dtype="<U5"))
