"""Measure a run by group, and narrow the gap where that is asked for."""

from typing import Any

import numpy as np
from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lantu.data.data_module import DataModule
from lantu.data.slices import Slices
from lantu.errors import UserError
from lantu.intervals import steps_done
from lantu.loggers import log_figure, log_metrics, log_table
from lantu.notices import warn_once
from lantu.responsible.fairness.metrics import ByGroup, intersection, of_decisions, of_numbers
from lantu.responsible.fairness.mitigation import CONSTRAINTS, GroupedExamples, Mitigation, reweighing
from lantu.tasks.calibrated_classifier import CalibratedClassifier
from lantu.tasks.group_thresholds import RATES, GroupThresholds
from lantu.tasks.outcomes import ClassOutcomes
from lantu.tasks.outputs import Collector, once_each

HOW = ("reweighing", "constraint", "thresholds")
SHOWN = {
    "selection_rate": "selected",
    "true_positive_rate": "TPR",
    "false_positive_rate": "FPR",
    "accuracy": "accuracy",
    "predicted_less_observed": "bias",
}
"""Of the figures those on the terminal, and how they are headed there; bias: predicted less observed frequency."""
CHANCE = (
    "p: how often groups that are shuffled are as far apart. A difference is above 0 in every sample, so its interval "
    "never contains 0: p tells whether there is one."
)
SHOWN_OF_NUMBERS = {"mean_prediction": "prediction", "mean_error": "error", "mae": "MAE"}


class Fairness(Callback):
    """Figures of the test by group and by intersection of groups, with the differences between them.

    Args:
        group: columns of the data, such as [race, sex]; they need not be learned from.
        favourable: the class that is good for a person; None: what `business` decides for, else the positive class.
        least: examples that a group needs to count in the differences.
        mitigation: reweighing: weights that make group and class independent in training (Kamiran and Calders 2012);
            constraint: a term of the loss; both need the group in training, not to predict. thresholds: of the
            decision, one for each group, which needs the group to predict. None: only measured.
        constraint: what is made equal: demographic_parity, equalized_odds, or by thresholds also equal_opportunity.
        strength: weight of the term beside the loss.
        tolerance: largest difference that thresholds leave between groups on the validation split.
    """

    def __init__(
        self,
        *,
        group: list[str],
        favourable: str | None = None,
        least: int = 30,
        mitigation: str | None = None,
        constraint: str = "demographic_parity",
        strength: float = 1.0,
        tolerance: float = 0.02,
    ) -> None:
        if mitigation is not None and mitigation not in HOW:
            raise UserError(f"`fairness.mitigation={mitigation}`: {', '.join(HOW)}, or null to measure only.")
        known = RATES if mitigation == "thresholds" else CONSTRAINTS
        if constraint not in known:
            raise UserError(
                f"`fairness.constraint={constraint}` with `fairness.mitigation={mitigation}`: {' or '.join(known)}."
            )
        self.group = group
        self.favourable = favourable
        self.least = least
        self.mitigation = mitigation
        self.constraint = constraint
        self.strength = strength
        self.tolerance = tolerance
        self.found: list[ByGroup] = []
        """What the last test found: for each column, and for all together."""
        self.metrics: dict[str, float] = {}
        """The same gaps by the names under which they are logged."""
        self._outputs = Collector()

    def prepare(self, task: Any, data: DataModule) -> None:
        """Check that the task can be measured by group, and make its training fairer where that is asked for.

        Raises:
            UserError: the task says nothing of people, has no such class, or cannot be trained in that way.
        """
        task.favourable_class(self.favourable)
        learned = [name for name in self.group if name in data.spec.get("feature_columns", ())]
        if learned:
            warn_once(
                f"`fairness.group`: the model learns from {', '.join(learned)} as well; "
                f"`data.ignore=[{','.join(learned)}]` leaves {'it' if len(learned) == 1 else 'them'} out."
            )
        if self.mitigation is None:
            return
        if not task.decides or len(task.class_names) != 2:
            raise UserError(f"`fairness.mitigation={self.mitigation}` is for a target of two classes.")
        if self.mitigation == "thresholds":
            self._divide_thresholds(task, data)
            return
        if getattr(task, "class_weights", None) is not None:
            raise UserError("`task.class_weights` and `fairness.mitigation` both weight the loss: leave one out.")
        classes = len(task.class_names)
        _, groups, _ = intersection({name: data.slice_values("train", name) for name in self.group})
        y = _targets(data.splits["train"])
        task.mitigation = Mitigation(
            classes=classes,
            weights=reweighing(y, groups, classes=classes) if self.mitigation == "reweighing" else None,
            constraint=self.constraint if self.mitigation == "constraint" else None,
            strength=self.strength,
        )
        data.training_view = lambda examples: GroupedExamples(examples, groups, classes=classes)

    def _divide_thresholds(self, task: CalibratedClassifier, data: DataModule) -> None:
        """Let a task's decision have a threshold for each group."""
        if task.decision is None:
            raise UserError(
                "`fairness.mitigation=thresholds` gives each group a threshold of its decision, and this run decides "
                "nothing: add `business=credit`, or take `fairness.mitigation=reweighing`."
            )
        if task.decision.chosen_by != "validation":
            raise UserError(
                "`fairness.mitigation=thresholds` chooses thresholds on the validation split: leave out "
                f"`business.threshold={task.decision.chosen_by}`."
            )
        slices = [Slices.of(data.carried_values("train", name)) for name in self.group]
        task.by_group = GroupThresholds(
            columns=list(self.group), slices=slices, equal=self.constraint, tolerance=self.tolerance, least=self.least
        )
        warn_once(
            f"`fairness.mitigation=thresholds`: the model needs {', '.join(self.group)} of whoever it decides about. "
            "Deciding by the group may be unlawful; `fairness.mitigation=reweighing` does not need it."
        )

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._outputs.clear()

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        if outputs is not None:
            self._outputs.add(outputs)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        left_out, outputs = self._outputs.left_out, once_each(self._outputs.joined())
        self._outputs.clear()
        if not outputs or not trainer.is_global_zero or trainer.fast_dev_run:
            return
        if left_out or "row" not in outputs:
            warn_once("`fairness`: the test examples cannot be told apart, or are too many; nothing is measured.")
            return
        self.found = self.measure(pl_module, trainer.datamodule, outputs)
        self.metrics = {
            f"fairness/{each.key}/{gap}{end}": value
            for each in self.found
            for gap, found in each.gaps.items()
            for end, value in (("", found.value), ("_low", found.low), ("_high", found.high), ("_p", found.p))
            if np.isfinite(value)
        }
        log_metrics(trainer, self.metrics, step=steps_done(trainer))
        for each in self.found:
            name = f"fairness_{each.key.replace('/', '_')}"
            log_table(trainer, each.table(), f"tables/{name}.json")
            if trainer.loggers:
                from lantu.responsible.fairness.figure import by_group

                log_figure(trainer, by_group(each), name)
        self._show(pl_module)

    def measure(self, task: Any, data: Any, outputs: dict[str, Any]) -> list[ByGroup]:
        """Return the figures of a test's outputs for each column and for all of them together, and for each target."""
        rows = np.asarray(outputs["row"])
        columns = {name: data.slice_values("test", name)[rows] for name in self.group}
        divided = [(name, np.asarray(found.codes), [str(each) for each in found.categories])
                   for name, found in columns.items()]  # fmt: skip
        if len(columns) > 1:
            divided.append(intersection(columns))
        outcomes = task.outcomes(outputs, favourable=self.favourable)
        if isinstance(outcomes, ClassOutcomes):
            return [
                of_decisions(*each, favoured=outcomes.decided, deserving=outcomes.true,
                             probability=outcomes.probability, least=self.least)
                for each in divided
            ]  # fmt: skip
        several = len(outcomes.targets) > 1
        return [
            of_numbers(*each, predicted=outcomes.predicted[:, place], truth=outcomes.true[:, place],
                       least=self.least, target=target if several else "")
            for each in divided
            for place, target in enumerate(outcomes.targets)
        ]  # fmt: skip

    def _show(self, task: Any) -> None:
        console = Console()
        favourable = task.favourable_class(self.favourable)
        shown = SHOWN_OF_NUMBERS if favourable is None else SHOWN
        for each in self.found:
            table = Table(box=None, padding=(0, 2))
            table.add_column(escape(each.title.removeprefix("by ")))
            table.add_column("examples", justify="right")
            for heading in shown.values():
                table.add_column(heading, justify="right")
            for place, group in enumerate(each.groups):
                cells = (f"{each.figures[metric][place].value:.4g}" for metric in shown)
                table.add_row(escape(group), f"{each.counts[place]:,}", *cells)
            console.print("", table)
            for gap, found in each.gaps.items():
                console.print(f"{gap.replace('_', ' ')}: {found}", highlight=False)
            if each.too_small:
                console.print(
                    f"with fewer than {self.least} examples, and so not in the differences: "
                    f"{escape(', '.join(each.too_small[:6]))}{', ...' if len(each.too_small) > 6 else ''}",
                    soft_wrap=True,
                )
            if not each.gaps:
                console.print(f"no differences: fewer than two groups of {each.name} have {self.least} examples")
        if any(each.gaps for each in self.found):
            console.print(CHANCE, highlight=False, soft_wrap=True)
        if favourable is not None:
            console.print(f"favourable outcome: {escape(favourable)} (`fairness.favourable=CLASS` chooses another)")


def _targets(examples: Any) -> np.ndarray:
    y = examples.y if getattr(examples, "y", None) is not None else examples.__getitems__(list(range(len(examples))))[1]
    return np.asarray(y)
