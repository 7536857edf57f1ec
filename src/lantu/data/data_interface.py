"""What a data module answers for: how to read, to prepare new inputs, to describe itself, and to fit baselines.

Nothing outside `lantu.data` asks for the class of a data module or for `spec["kind"]`. Whatever depends on the kind of
data is one of these methods; a data module of your own overrides those for which the default is not right.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, default_collate

from lantu.errors import UserError, lacks

if TYPE_CHECKING:
    from mlflow.types import Schema


class DataInterface(LightningDataModule):
    """The methods by which training, inference, serving and sweeps use a data module.

    A data module of your own needs `read` to be trained on; `examples_of` and `predict_rows` to predict and to be
    served; `schema` or `input_signature` to tell MLflow's clients what to send.
    """

    unit = "examples"
    takes_recordings = False
    """Whether a request is a recording, so that a page may offer a microphone."""
    cuts_folds = False
    """Whether examples are rows that can be cut into folds."""
    stops: tuple[str, ...] = ()
    """Default stop texts of a language model."""

    def read(self) -> None:
        """Fill `splits`, `spec` and `fingerprints`, and `learned` unless it was restored; `report` takes the findings.

        `splits["train"]` is needed; "val" and "test" may be left out. `fingerprints` has a digest for every split:
        `lantu.data.fingerprint_of` makes one of bytes, texts and arrays.
        """
        raise lacks(self, "read", "to train")

    def files_read(self) -> list[Path] | None:
        """The files on whose content, beside the options, it depends what `read` finds; None: they are not known.

        Where they are known, `lantu.data.last_read` may give the next run of this process what was read before.
        """
        return None

    def collate(self, examples: list[Any]) -> Any:
        """Make a batch of single examples, for data sets without `__getitems__`; those with it fetch whole batches.

        The default stacks tensors and arrays of one shape. Images of different sizes stay lists:
        `images, targets = zip(*examples); return list(images), list(targets)`.
        """
        return default_collate(examples)

    # New inputs

    def examples_of(self, inputs: Any) -> Dataset:
        """New inputs, prepared as in training, without targets.

        Args:
            inputs: a data frame, an array or a list, as a client of a served model sends them; or paths.

        Raises:
            UserError: they lack a column, or cannot be read.
        """
        raise lacks(self, "examples_of", "to predict for new inputs and to be served")

    def predict_rows(self, path: Path) -> tuple[DataLoader, pd.DataFrame]:
        """Batches of the inputs in a file or folder, prepared as in training, and the rows that they came from.

        Raises:
            UserError: the file cannot be read, or lacks a column.
        """
        raise lacks(self, "predict_rows", "to predict for a file or a folder")

    def schema(self) -> list[dict[str, str]]:
        """The columns of a request: `{"name": ..., "type": ...}` each, with a type of MLflow's (double, string)."""
        raise lacks(self, "schema", "to tell MLflow's clients what the model takes")

    def input_signature(self) -> "Schema":
        """MLflow's schema of a request; the default makes it from `schema`. A value may be missing in any column."""
        from mlflow.types import ColSpec, Schema

        return Schema([ColSpec(each["type"], each["name"], required=False) for each in self.schema()])

    def table_columns(self) -> list[dict[str, Any]]:
        """What training learned of each column (`lantu.data.table.column.Column`) where inputs are rows of a table
        and nothing else, so that a server can encode one row without a data frame; [] for all other data."""
        return []

    def prompt(self, text: str) -> str:
        """Format a prompt as the training text is formatted."""
        return text

    # Names and descriptions

    def row_ids(self, split: str) -> list[Any] | None:
        """A name for each example of a split, such as its file or its number in the source; None: they have none."""
        return None

    def origin(self) -> dict[str, Any]:
        """The fields of an MLflow data set: name, source_type, source and schema."""
        return {"name": type(self).__name__, "source_type": "local", "source": "", "schema": None}

    def feature_groups(self) -> list[tuple[str, list[int]]] | None:
        """For inputs (N, features): the feature indices of each column, by name; None: there are no columns."""
        return None

    def reference(self) -> dict[str, Any] | None:
        """The distribution of each column in training; None: not known, or there are no columns."""
        return None

    def describe_rows(self, rows: pd.DataFrame) -> dict[str, Any] | None:
        """The distribution of each column in other rows; None: there are no columns.

        Raises:
            UserError: the rows lack a column.
        """
        return None

    # Texts

    def encode(self, text: str) -> np.ndarray:
        """Token numbers (T,) of a text, where the data are running text."""
        raise UserError(f"{type(self).__name__} has no running text.")

    def decode(self, tokens: Any) -> str:
        """The text of token numbers, where the data are running text."""
        raise UserError(f"{type(self).__name__} has no running text.")

    def bytes_per_token(self, split: str) -> float | None:
        """The mean bytes of UTF-8 of a token of a split; None: not known, or the data are no running text."""
        return None

    def token_names(self, tokens: Any) -> list[str]:
        """The tokens (L,) of one text as readable strings."""
        return [str(int(each)) for each in tokens]

    def unknown_token(self) -> int | None:
        """The id of the unknown token of texts; None: the vocabulary covers every text."""
        return None

    # Baselines

    def classical_features(self, split: str, rows: np.ndarray) -> tuple[Any, np.ndarray]:
        """Examples as a classical model takes them: features (N, F), dense or sparse, and targets (N,).

        Args:
            rows: which examples of the split.
        """
        raise lacks(self, "classical_features", "to fit the baselines of a sweep")

    def classical_model(self, *, classifies: bool, shape: tuple[int, int]) -> tuple[str, Any]:
        """A classical baseline for such data: its description, and an unfitted estimator of scikit-learn.

        Args:
            classifies: whether the target is a class or a number.
            shape: of the training features.
        """
        raise lacks(self, "classical_model", "to fit the baselines of a sweep")

    def classical_models(self, *, classifies: bool, shape: tuple[int, int]) -> dict[str, tuple[str, Any]]:
        """Further baselines by name, each as from `classical_model`; the default is that one alone."""
        return {"classical": self.classical_model(classifies=classifies, shape=shape)}
