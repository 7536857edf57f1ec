"""Images of people: a gallery of known ones, and probes to be recognised."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch.utils.data import DataLoader

from lantu.data import labels
from lantu.data.image.image_data_module import ImageDataModule
from lantu.data.splitting import SPLITS
from lantu.errors import UserError


class GalleryDataModule(ImageDataModule):
    """As `ImageDataModule`; to `predict`, a folder with `gallery/PERSON/IMAGE` and `probe/IMAGE`.

    People of validation and test are not in training: name the column with the person as `target` and as `group`.
    """

    def _report_classes(self, values: pd.Series, split: np.ndarray, target: labels.Classes) -> None:
        if self.group != self.target:
            super()._report_classes(values, split, target)
            return
        # no part but one has a person, as it is meant to be
        counts = [f"{part} {values[split == part].nunique():,}" for part in SPLITS if (split == part).any()]
        self.report.say(f"people: {', '.join(counts)}")

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        """A row for each image; `part` says gallery or probe, and those of the gallery have their person."""
        if not (path / "gallery").is_dir() or not (path / "probe").is_dir():
            raise UserError(
                f"`input={path}`: recognising people takes a folder with gallery/PERSON/IMAGE (who is known) and "
                "probe/IMAGE (who is to be recognised)."
            )
        found, rows = super().predict_rows(path)
        parts = [Path(image).relative_to(path).parts for image in rows["image"]]
        known = [part[1] if part[0] == "gallery" and len(part) > 2 else None for part in parts]
        readable = [row for row, example in enumerate(rows.index) if example >= 0]
        if not any(known[row] for row in readable):
            raise UserError(f"`input={path}`: no image of gallery/PERSON/ can be read.")
        examples: Any = found.dataset
        examples.gallery = [known[row] for row in readable]
        rows.insert(1, "part", [part[0] for part in parts])
        rows.insert(2, "known_as", known)
        return found, rows
