"""What a task answers for beside its loss: predictions, figures, samples, baselines, what is stored of each example.

Nothing outside `lantu.tasks` asks for the class of a task. Whatever depends on the kind of problem is one of these
methods, each with a default; a task of your own overrides those for which the default is not right.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.apply_func import move_data_to_device

from lantu.errors import UserError, lacks
from lantu.table_files import ENDINGS, write_table
from lantu.tasks.outputs import Outputs, join, to_host

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema
    from torch.utils.data import Dataset

    from lantu.data.data_module import DataModule
    from lantu.tasks.baselines import Baseline
    from lantu.tasks.outcomes import ClassOutcomes, NumberOutcomes


class TaskInterface(pl.LightningModule):
    """The methods by which training, inference, serving and sweeps use a task."""

    keeps_outputs = True
    """Whether the outputs of validation and test are small enough to be kept for figures and tables."""
    answers = True
    """Whether a trained model is of use as it is; False: only to be fine-tuned for another task."""
    decides = False
    """Whether it has class probabilities, which can be calibrated and turned into decisions."""
    prompted = False
    """Whether the model writes text from a prompt rather than predicting for the rows of a file."""
    generates = False
    """Whether the model makes new examples of nothing but a class: it has `generate`, and needs no input."""
    steps_per_batch = 1
    """Steps of optimizers that a batch takes; Lightning counts each in `trainer.max_steps`."""
    best_by = "val/loss"
    """The metric that chooses the best checkpoint where the config leaves that to the task."""
    speaks = False
    """Whether a prompted model answers with a recording rather than text: `synthesize` instead of `stream`."""
    transcribes = False
    """Whether it writes down recordings: its answers have the column `text`."""
    linear_model: Literal["classification", "regression"] | None = None
    """What a linear model of the same inputs is fitted as, from which a network may begin; None: there is none."""
    figure_stages: tuple[str, ...] = ("test",)
    """The stages whose figures are drawn: "val" (the last validation) and "test"."""
    compiles_loss = False
    """Whether `compile=true` translates the loss as well: it pays for a loss over a large vocabulary."""
    endings: tuple[str, ...] = ENDINGS
    """The file endings that `write` can write."""

    @classmethod
    def facts(cls, spec: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
        """Facts of the data that this task changes before the network is built.

        A network asks for `${spec.outputs}` logits. An ordinal task that needs one less than there are classes returns
        `{"outputs": spec["classes"] - 1}`, and no model has to be edited.

        Args:
            spec: what the data module publishes.
            options: the task's node of the config.
        """
        return {}

    # New inputs

    @property
    def carried_columns(self) -> list[str]:
        """Columns of the input that predictions depend on and the network does not see."""
        return []

    def predict_step(self, batch: Any, batch_idx: int = 0) -> Outputs:
        """The predictions for a batch of inputs without targets."""
        return self.predictions(self(batch))

    def predictions(self, output: Any) -> Outputs:
        """What a network's output says of each of N examples, by name: tensors (N, ...) or lists of N things."""
        raise lacks(self, "predictions", "to predict for new inputs and to be served")

    # Export

    @property
    def deployed(self) -> torch.nn.Module:
        """The network that answers new inputs, which an export writes."""
        net: torch.nn.Module = self.net
        return net

    def exported_predictions(self, x: Any, output: Any) -> Outputs:
        """The predictions that an exported graph holds beside the output of the network for inputs x."""
        return self.predictions(output)

    def export_inputs(self, count: int) -> list[Any] | None:
        """Batches of inputs to compare an export on, where these are drawn; None: examples of the data are used."""
        return None

    def search_in(self, data: "DataModule", gallery: Path | None) -> None:
        """Before predicting: what is searched for matches, in tasks that find one thing by another.

        Args:
            data: prepares it as in training.
            gallery: the file or folder that was named; None: none was.

        Raises:
            UserError: the task searches nothing, and a gallery was named.
        """
        if gallery is not None:
            raise UserError(f"`gallery={gallery}`: this run's model predicts for its input and searches nothing.")

    def to_frame(self, outputs: Outputs, examples: "Dataset") -> "pd.DataFrame":
        """Predictions as a table with one row for each example.

        Args:
            outputs: what `predict_step` gave, on the CPU, all batches joined.
            examples: the data set that they are of, in the same order.
        """
        raise lacks(self, "to_frame", "to show predictions as a table")

    def input_signature(self, data: "DataModule") -> "Schema":
        """MLflow's schema of a request; the default is the data module's, with the carried columns as text."""
        from mlflow.types import ColSpec, Schema

        found = data.input_signature()
        if not self.carried_columns:
            return found
        names = [name for name in self.carried_columns if name not in found.input_names()]
        return Schema([*found.inputs, *(ColSpec("string", name, required=False) for name in names)])

    def output_signature(self) -> "Schema":
        """MLflow's schema of the columns that `to_frame` gives."""
        raise lacks(self, "output_signature", "to tell MLflow's clients what the model answers")

    def write(self, outputs: Outputs, path: Path, *, frame: "pd.DataFrame") -> None:
        """Write predictions to a file whose ending is one of `endings`.

        Args:
            outputs: as in `to_frame`.
            path: the file, or a folder to be made.
            frame: the rows of the input with the predictions beside them; the default writes it.
        """
        write_table(frame, path)

    def respond(self, data: "DataModule", inputs: Any, params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """The answer to a request of a served model: one row for each input.

        Args:
            data: prepares the inputs as in training.
            inputs: as a client sends them: a data frame, an array, a list.
            params: options of the request.
        """
        batches = data.batches_of(inputs)
        with torch.inference_mode():
            return self.to_frame(self.predicted(batches), batches.dataset)

    def predicted(self, batches: Iterable[Any]) -> Outputs:
        """Return the predictions of batches, computed on the task's device and copied to the host."""
        placed = (move_data_to_device(batch, self.device) for batch in batches)
        return join([to_host(self.predict_step(batch, number)) for number, batch in enumerate(placed)])

    def usage(self, run_dir: Path) -> list[tuple[str, str]]:
        """What to type next with the trained model: pairs of a command and what it does."""
        return [("lantu predict run=last input=FILE", "apply it to new data")]

    def explained(self, output: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What an explanation is of, for a network's output of N examples.

        Returns:
            Scores (N, K) whose gradients are taken, such as logits; the same as a person reads them (N, K), such as
            probabilities; and which of the K is explained of each example (N,).
        """
        raise lacks(self, "explained", "to explain its predictions")

    # What shows a run

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """Named figures of a stage: matplotlib figures, pictures of Pillow, or tables (data frames, columns by name).

        Called once at the end of training ("val", if in `figure_stages`) and once after the test. A figure is kept as
        `figures/NAME.png` ("val": `NAME_val.png`), a table as `tables/NAME.json`.

        Args:
            stage: "val" or "test".
            outputs: what `collect` kept, on the CPU, all batches joined; {} if nothing was kept.
        """
        return iter(())

    def samples(self, data: "DataModule", *, stage: str = "val") -> dict[str, Any]:
        """What is shown while the model trains, by name: texts, figures, pictures, sounds (`Sound`), tables; numbers
        become metrics.

        Called after every validation and once before the end of the test, on every rank. Must not draw from the run's
        own random numbers.
        """
        return {}

    def per_example(self, outputs: Outputs) -> dict[str, Any] | None:
        """What is stored of each example, as columns: row, target, prediction, probability or score, loss.

        Args:
            outputs: what `collect` kept of one batch or of several, on the CPU. `outputs["row"]`, where it is there,
                numbers the examples in their split.

        Returns:
            Columns of equal length; None: nothing is stored.
        """
        return None

    def favourable_class(self, named: str | None) -> str | None:
        """The class that is good for a person, by which groups of people are compared; None: it predicts numbers.

        Args:
            named: what the config names; None: the task's own choice.

        Raises:
            UserError: there is no such class, or predictions of this task mean nothing good or bad.
        """
        raise UserError(
            f"`fairness.group` compares what predictions mean for people, and {type(self).__name__} does not say that "
            "(it has no `outcomes`): leave it out, or name the columns in `task.slices`."
        )

    def outcomes(self, outputs: Outputs, *, favourable: str | None = None) -> "ClassOutcomes | NumberOutcomes":
        """What a test's outputs mean for the people that they are about.

        Args:
            outputs: what `collect` kept, on the CPU, all batches joined.
            favourable: as in `favourable_class`.
        """
        raise lacks(self, "outcomes", "to be compared between groups of people")

    @classmethod
    def baselines(cls, data: "DataModule") -> "list[Baseline]":
        """Fit trivial and classical models on the training split, and measure them on the others.

        Raises:
            UserError: there is none for this task, or these data.
        """
        raise lacks(cls, "baselines", "to fit simple models that a sweep must beat")

    @classmethod
    def baselines_for(cls, data: "DataModule", options: Mapping[str, Any]) -> "list[Baseline]":
        """As `baselines`, for a task with options of its own that decide what is measured.

        Args:
            options: the task's node of the config.
        """
        return cls.baselines(data)
