"""The base class of data modules: batches, spec, report, fingerprints, and the state that prepares new inputs."""

import json
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from torch.utils.data import DataLoader, Dataset

from lantu.data import last_read
from lantu.data.batches import loader
from lantu.data.cleaning_report import Report
from lantu.data.data_interface import DataInterface
from lantu.data.samplers import EvenBatches, TrainingBatches
from lantu.data.slices import Slices
from lantu.data.splitting import SPLITS, shares
from lantu.data_options import check_folds
from lantu.errors import UserError


class DataModule(DataInterface):
    """Calls `read` of the subclass once, in `prepare_data`.

    What a data module of your own has to define is in `DataInterface`.

    Args:
        batch_size: examples of a training, validation or test batch, summed over all devices.
        workers: processes that prepare batches; None: chosen for the data and this machine, often none.
        split: shares cut off for "val" and "test" where the source has no such part.
        split_seed: seed of the split, independent of the training's seed.
        fold: index of the fold that is the test part, from 0; for cross-validation.
        folds: number of folds; None: no cross-validation.
        cache: folder for decoded images and tokens.
    """

    def __init__(
        self,
        *,
        batch_size: int = 64,
        workers: int | None = None,
        split: dict[str, float] | str | None = None,
        split_seed: int = 0,
        fold: int | None = None,
        folds: int | None = None,
        cache: str = "mlruns/cache",
    ) -> None:
        super().__init__()
        check_folds(fold, folds)
        if folds is not None and not self.cuts_folds:
            raise UserError(f"`data.folds={folds}`: {type(self).__name__} has no rows that can be cut into folds.")
        if batch_size < 1:
            raise UserError(f"`data.batch_size={batch_size}` must be at least 1.")
        if workers is not None and workers < 0:
            raise UserError(f"`data.workers={workers}` must be 0 or more, or null for what pays on this machine.")
        self.batch_size = batch_size
        self.workers = workers
        self.shares = shares(split)
        self.split_seed = split_seed
        self.fold = fold
        self.folds = folds
        self.cache = Path(cache)
        self.spec: dict[str, Any] = {}
        """The values that the config of a model can refer to as `${spec.NAME}`; known after `setup`."""
        self.report = Report(unit=self.unit)
        self.fingerprints: dict[str, str] = {}
        """A digest of each split's content."""
        self.splits: dict[str, Dataset] = {}
        self.carried: list[str] = []
        """Columns of the source that are kept in addition to the features; see `carry`."""
        self.rows: dict[str, pd.DataFrame] = {}
        """The carried columns of each split, in the order of its examples."""
        self.learned: dict[str, Any] = {}
        """Values fitted on the training split: statistics, classes, vocabulary."""
        self.begins = (0, 0)
        """Where a resumed training continues: the epoch, and the number of its batches already done."""
        self.training_batches: Callable[..., TrainingBatches] = TrainingBatches
        """The sampler class of training; differentially private training replaces it."""
        self.training_view: Callable[[Any], Any] = _unchanged
        """Wraps the training examples; training with `fairness` adds the group to the targets."""
        self.micro_batches = 1
        """Into how many a training batch is cut, which are computed one after the other; see `cut_batches`."""
        self._training: TrainingBatches | None = None
        self._measured: dict[str, EvenBatches] = {}

    def batches_of(self, inputs: Any) -> DataLoader:
        """Batches of new inputs, in their order."""
        return self.loader(self.examples_of(inputs))

    def loader(self, examples: Dataset) -> DataLoader:
        """Batches of examples in their order, on this process alone."""
        return loader(examples, batch_size=self.batch_size, workers=0, collate=self.collate)

    def rows_of_batch(self, split: str, batch_idx: int) -> list[int] | None:
        """Which examples of a split make up a batch of validation or test on this rank; None: not known."""
        batches = self._measured.get(split)
        return batches.batch(batch_idx) if batches is not None else None

    def carry(self, columns: Iterable[str]) -> None:
        """Keep columns of the source beside the features, whether or not they are learned from.

        Call it before the data are read. A data module of your own fills `self.rows` with them in `read`.
        """
        self.carried += [name for name in columns if name not in self.carried]

    def carried_values(self, split: str, column: str) -> pd.Series:
        """The values (N,) of a carried column for the examples of a split, as the source has them."""
        return self.rows[split][column]

    def slice_values(self, split: str, column: str) -> pd.Categorical:
        """The slice of a carried column that each example (N,) of a split belongs to; see `lantu.data.slices`.

        The categories are the same in all splits, and those of the training split come first.
        """
        return Slices.of(self.carried_values("train", column)).divide(self.carried_values(split, column))

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

    def weight(self, batch_idx: int) -> float:
        """The weight of this rank's mean loss over a training batch in the mean over the ranks."""
        return self._training.weight(batch_idx) if self._training else 1.0

    def batches_done(self, batches: int, *, batch_size: int) -> int:
        """How many training batches of the present size hold the examples of `batches` of another size.

        Raises:
            UserError: they do not make up whole batches.
        """
        done, rest = divmod(batches * batch_size, self.batch_size)
        if rest:
            raise UserError(
                f"`data.batch_size={self.batch_size}`: the checkpoint lies inside an epoch, after {batches} batches of "
                f"{batch_size} examples, which are no whole number of batches of {self.batch_size}. "
                f"`data.batch_size={batch_size}` goes on from it, or one that divides {batch_size}."
            )
        return done

    def why_not_cut(self) -> str:
        """Why a training batch cannot be cut into smaller ones with the same examples; empty: it can."""
        return "" if self.training_batches is TrainingBatches else "its size is not `data.batch_size`"

    def cut_batches(self, parts: int) -> None:
        """Give each training batch as so many smaller ones in a row, which have the same examples together.

        Batches of validation and test get smaller as well. Call it before training.
        """
        assert not self.why_not_cut()
        assert self.batch_size % parts == 0
        self.batch_size //= parts
        self.micro_batches *= parts

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
        key = last_read.Key.of(self)
        if not last_read.recall(self, key):
            self._read_checked()
            last_read.keep(self, key)
        expected = getattr(self, "_expected", None)
        if expected and expected != self.fingerprints:
            warnings.warn("the data have changed since the model was trained on them", stacklevel=3)

    def _read_checked(self) -> None:
        self.read()
        if lacking := [name for name in self.carried if name not in self.rows.get("train", ())]:
            raise UserError(f"`{type(self).__name__}` keeps no column {lacking[0]!r} beside its inputs to slice by.")
        if "train" not in self.splits:
            raise UserError(f"`{type(self).__name__}.read` must fill `self.splits['train']`; it did not.")
        for name, examples in self.splits.items():
            self.report.sizes.setdefault(name, len(examples))  # type: ignore[arg-type]
            if name not in self.fingerprints:
                raise UserError(
                    f"`{type(self).__name__}.read` must fill `self.fingerprints[{name!r}]`, by which a run tells that "
                    "its data have changed: `lantu.data.fingerprint_of(...)` makes a digest of bytes, texts and arrays."
                )
        self.report.title = self.report.title or type(self).__name__
        self.splits = {name: self.splits[name] for name in SPLITS if name in self.splits}
        self.report.sizes = {name: self.report.sizes[name] for name in self.splits}
        if not len(self.splits["train"]):  # type: ignore[arg-type]
            raise UserError(f"{self.report.title or 'The data'}: after cleaning there is nothing left to train on.")

    def _batches(self, split: str, *, training: bool = False) -> Any:
        if split not in self.splits:
            return []  # Lightning skips a stage without batches
        examples = self.training_view(self.splits[split]) if training else self.splits[split]
        options: dict[str, Any] = {"batch_size": self._rows(split), **self._share()}
        size = len(examples)  # type: ignore[arg-type]
        order = {**options, **self._order(split)} if training else options
        batches = self.training_batches(size, **order) if training else EvenBatches(size, **options)
        if isinstance(batches, TrainingBatches):
            batches.micro_batches = self.micro_batches
            self._training = batches
        else:
            self._measured[split] = batches
        return loader(
            examples, batch_size=self.batch_size, workers=self._workers(), batches=batches, collate=self.collate
        )

    def _rows(self, split: str) -> int:
        """The batch size of a split, summed over all ranks."""
        return self.batch_size

    def _order(self, split: str) -> dict[str, Any]:
        """Options of `TrainingBatches`: the order of the training examples, and where it starts."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))  # the run's, on every rank
        shuffle = not (self.trainer and self.trainer.overfit_batches)
        # a resumed trainer may count the batches, for a schedule, before it knows its epoch
        return {"seed": seed, "shuffle": shuffle, "epoch": self.begins[0], "start": self.begins[1]}

    def _share(self) -> dict[str, int]:
        """The rank and the number of ranks, for a sampler."""
        return dict(self.trainer.distributed_sampler_kwargs or {}) if self.trainer else {}

    def _workers(self) -> int:
        return self.workers or 0


def _unchanged(examples: Any) -> Any:
    return examples
