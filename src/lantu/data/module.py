"""What every data module has: batches, facts, a report, a fingerprint, and a state that applies it to new inputs."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from lantu.data.batches import loader
from lantu.data.report import Report
from lantu.data.sampling import rank_batches
from lantu.data.splitting import SPLITS, shares
from lantu.errors import UserError


class DataModule(LightningDataModule):
    """Reads once, in `prepare_data`, what one of its kinds describes in `read`.

    Args:
        batch_size: examples of a training, validation or test batch.
        workers: processes that prepare batches; None: as many as pay on this machine, often none.
        split: shares cut off for "val" and "test" where the source has no such part.
        split_seed: decides which rows they are, whatever the training's seed.
        cache: folder for decoded images and tokens.
    """

    unit = "examples"
    stops: tuple[str, ...] = ()
    """Texts that end what a language model writes, unless others are asked for."""

    def __init__(
        self,
        *,
        batch_size: int = 64,
        workers: int | None = None,
        split: dict[str, float] | None = None,
        split_seed: int = 0,
        cache: str = "mlruns/cache",
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise UserError(f"`data.batch_size={batch_size}` must be at least 1.")
        if workers is not None and workers < 0:
            raise UserError(f"`data.workers={workers}` must be 0 or more, or null for what pays on this machine.")
        self.batch_size = batch_size
        self.workers = workers
        self.shares = shares(split)
        self.split_seed = split_seed
        self.cache = Path(cache)
        self.spec: dict[str, Any] = {}
        """The facts that a model may ask for; known after `setup`."""
        self.report = Report(unit=self.unit)
        self.fingerprints: dict[str, str] = {}
        """A digest of each split's content."""
        self.splits: dict[str, Dataset] = {}
        self.learned: dict[str, Any] = {}
        """What was learned from the training split, as plain values: statistics, classes, vocabulary."""

    def read(self) -> None:
        """Fill `splits`, `spec`, `fingerprints` and `report`; and `learned`, unless it was restored."""
        raise NotImplementedError

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        """Batches of new inputs, prepared as in training, and the rows that they came from.

        Raises:
            UserError: the file cannot be read, or lacks a column.
        """
        raise UserError(f"{type(self).__name__} does not predict from files.")

    def examples_of(self, inputs: Any) -> Dataset:
        """New inputs, as a client of a served model sends them, prepared as in training."""
        raise UserError(f"{type(self).__name__} does not answer requests.")

    def schema(self) -> list[dict[str, str]]:
        """The inputs' names and MLflow types."""
        raise NotImplementedError

    def encode(self, text: str) -> np.ndarray:
        """Token numbers (T,) of a text, where the data are running text."""
        raise UserError(f"{type(self).__name__} has no running text.")

    def decode(self, tokens: Any) -> str:
        """The text of token numbers, where the data are running text."""
        raise UserError(f"{type(self).__name__} has no running text.")

    def prompt(self, text: str) -> str:
        """What a person typed, as the training text has it, for a model to go on from."""
        return text

    def origin(self) -> dict[str, Any]:
        """Where the data are from and what a row looks like: MLflow's name, source_type, source and schema."""
        raise NotImplementedError

    # What Lightning calls

    def prepare_data(self) -> None:
        self._read_once()

    def setup(self, stage: str) -> None:
        self._read_once()

    def train_dataloader(self) -> DataLoader:
        return self._batches("train", training=True)

    def val_dataloader(self) -> DataLoader:
        return self._batches("val")

    def test_dataloader(self) -> DataLoader:
        return self._batches("test")

    def state_dict(self) -> dict[str, Any]:
        return {"learned": self.learned, "spec": self.spec, "fingerprints": self.fingerprints}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.fingerprints and self.fingerprints != state_dict["fingerprints"]:
            warnings.warn("the data have changed since this checkpoint was made", stacklevel=2)
        if not self.splits:
            self.learned = state_dict["learned"]
            self.spec = state_dict["spec"]
            self._expected = state_dict["fingerprints"]

    # What the record keeps

    @property
    def fingerprint(self) -> str:
        """One digest of all splits."""
        from hashlib import blake2b

        joined = "".join(self.fingerprints[name] for name in sorted(self.fingerprints))
        return blake2b(joined.encode(), digest_size=8).hexdigest()

    def describe(self) -> list[dict[str, Any]]:
        """Each split as an MLflow data set, with its digest."""
        contexts = {"train": "training", "val": "validation", "test": "test"}
        return [
            {
                **self.origin(),
                "digest": self.fingerprints[name],
                "profile": json.dumps({"num_rows": self.report.sizes[name], "split": name}),
                "context": contexts[name],
            }
            for name in self.splits
        ]

    def _read_once(self) -> None:
        if self.splits:
            return
        self.read()
        self.splits = {name: self.splits[name] for name in SPLITS if name in self.splits}
        self.report.sizes = {name: self.report.sizes[name] for name in self.splits}
        if not len(self.splits["train"]):  # type: ignore[arg-type]
            raise UserError(f"{self.report.title or 'The data'}: after cleaning there is nothing left to train on.")
        expected = getattr(self, "_expected", None)
        if expected and expected != self.fingerprints:
            warnings.warn("the data have changed since the model was trained on them", stacklevel=3)

    def _batches(self, split: str, *, training: bool = False) -> Any:
        if split not in self.splits:
            return []  # Lightning takes no batches for no such stage
        examples = self.splits[split]
        share = self.trainer.distributed_sampler_kwargs if self.trainer and self.trainer.world_size > 1 else None
        batches = None
        if self.trainer and share:
            shuffle = not self.trainer.overfit_batches
            seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))  # the run's, on every rank
            batches = rank_batches(
                examples, batch_size=self.batch_size, training=training, shuffle=shuffle, seed=seed, **share
            )
        return loader(examples, batch_size=self.batch_size, workers=self._workers(), training=training, batches=batches)

    def _workers(self) -> int:
        return self.workers or 0
