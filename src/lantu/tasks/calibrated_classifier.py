"""A classifier whose probabilities are calibrated, and turned into decisions, where the config asks for it."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lantu.decisions import Calibration, Decision
from lantu.decisions.scores import brier, calibration_pairs, reliability
from lantu.errors import UserError
from lantu.notices import warn_once
from lantu.tasks.known_metrics import KS, AveragePrecision, Gini
from lantu.tasks.outcomes import ClassOutcomes
from lantu.tasks.outputs import Collector, Outputs, once_each
from lantu.tasks.task import Batch, Task

if TYPE_CHECKING:
    from lantu.tasks.group_thresholds import GroupThresholds


class CalibratedClassifier(Task):
    """Fit a calibration and a decision on the outputs of every validation, so that each checkpoint holds its own.

    In training and in the validations of a training, outputs are the network's own logits (N, classes). Everywhere else
    (test, evaluate, predict, a served model) they are calibrated log-probabilities.

    Args:
        calibration: of the probabilities; None: as the network gives them.
        decision: a threshold in money, with reasons; two classes only; None: no decision.
    """

    decides = True
    class_names: list[str]

    def __init__(
        self,
        net: nn.Module,
        *,
        calibration: Calibration | None = None,
        decision: Decision | None = None,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        self.calibration = calibration
        self.decision = decision
        self.mitigation: Any = None
        """The training loss of `lantu.responsible.fairness`, which narrows the gap between groups; None: the usual."""
        self._collected = Collector()
        self._by_group: GroupThresholds | None = None
        self._groups: Tensor | None = None
        self._uncalibrated: Tensor | None = None

    @property
    def by_group(self) -> "GroupThresholds | None":
        """The thresholds of groups, fitted or from a checkpoint; None: one threshold for all."""
        state = None if self.decision is None else self.decision.by_group
        if state is not None and self._by_group is None:
            from lantu.tasks.group_thresholds import GroupThresholds

            self._by_group = GroupThresholds.restored(state)
        return self._by_group

    @by_group.setter
    def by_group(self, thresholds: "GroupThresholds") -> None:
        self._by_group = thresholds

    @property
    def carried_columns(self) -> list[str]:
        return [] if self.by_group is None else self.by_group.columns

    def thresholds(self, outputs: Outputs, *, split: str) -> float | np.ndarray:
        """Return the threshold of the decision; with thresholds of groups that of each example (N,) of a split."""
        assert self.decision is not None
        if self.by_group is None:
            return self.decision.threshold
        data: Any = self.trainer.datamodule
        groups = self.by_group.groups_in(data, split, rows=outputs["row"])
        return self.by_group.of(groups, self.decision.threshold)

    def probabilities(self, output: Tensor) -> Tensor:
        """Probabilities (N, classes) of an output."""
        raise NotImplementedError

    def _inputs_and_targets(self, batch: Any) -> tuple[Any, Any]:
        x, y = super()._inputs_and_targets(batch)
        if self.mitigation is not None:
            y, self._groups = self.mitigation.apart(y)
        return x, y

    def fairer_loss(self, output: Tensor, y: Tensor, *, label_smoothing: float) -> Tensor:
        """The mean training loss of a batch whose groups are known."""
        assert self._groups is not None
        groups = self._groups.repeat_interleave(len(y) // len(self._groups))  # of an ensemble each member
        return self.mitigation.loss(output, y, groups, label_smoothing=label_smoothing)

    def calibrated(self, output: Tensor, *, stage: str) -> Tensor:
        """Calibrated log-probabilities of logits (N, classes); in a training, the logits themselves."""
        training = self._trainer is not None and self.trainer.state.fn == "fit"
        if self.calibration is None or stage == "train" or (stage == "val" and training):
            return output
        if stage == "val":
            warn_once("calibration and threshold were fitted on the validation split: its figures flatter them.")
        if stage == "test":
            self._uncalibrated = output
        return self.calibration(output)

    def collect(self, output: Any, y: Any) -> Outputs | None:
        """As `Task.collect`, with the logits before calibration as "uncalibrated" in a test."""
        outputs, logits = super().collect(output, y), self._uncalibrated
        self._uncalibrated = None
        return outputs if outputs is None or logits is None else {**outputs, "uncalibrated": logits.detach()}

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self._fits_after_validation() and not self.trainer.num_val_batches and "val" not in self._splits():
            raise UserError(
                "`calibration` and `business` are fitted on the validation split, and these data have none: add "
                "`data.split.val=0.2`, or leave them out."
            )

    def on_validation_epoch_start(self) -> None:
        self._collected.clear()

    def on_test_epoch_start(self) -> None:
        self._collected.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        outputs = super().validation_step(batch, batch_idx)
        if outputs is not None and self._fits_after_validation():
            wants_inputs = self.decision is not None and self.decision.reasons and batch[0].ndim == 2
            self._collected.add({**outputs, "x": batch[0]} if wants_inputs else outputs)
        return outputs

    def test_step(self, batch: Batch, batch_idx: int) -> Outputs | None:
        outputs = super().test_step(batch, batch_idx)
        if outputs is not None and self._is_assessed():
            self._collected.add(outputs)
        return outputs

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking and self._fits_after_validation():
            self._fit_on(once_each(self._collected.joined()))
        self._collected.clear()

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        if self._is_assessed():
            values = self.assess(once_each(self._collected.joined()))
            self.log_dict({f"test/{name}": value for name, value in values.items() if np.isfinite(value)})
        self._collected.clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was fitted, also where averaged weights are saved from a copy that was not there to be fitted."""
        super().on_save_checkpoint(checkpoint)
        for name, part in (("calibration", self.calibration), ("decision", self.decision)):
            if part is not None:
                checkpoint["state_dict"] |= part.state_dict(prefix=f"{name}.")

    def assess(self, outputs: Outputs) -> dict[str, float]:
        """Return figures of calibration and decision on the outputs of a test, by name."""
        if not outputs or not len(outputs["y"]):
            return {}
        p, y = self.probabilities(outputs["output"]).numpy(), outputs["y"].numpy()
        curve = reliability(*calibration_pairs(p, y))
        values = {"ece": curve.ece, "ece_low": curve.interval[0], "ece_high": curve.interval[1]}
        values |= {"ece_if_perfect": curve.expected, "brier": brier(p, y)}
        if "uncalibrated" in outputs and type(self.calibration) is not Calibration:
            logits = outputs["uncalibrated"]
            uncalibrated = logits.float().softmax(dim=-1).numpy()
            values["ece_uncalibrated"] = reliability(*calibration_pairs(uncalibrated, y)).ece
            values["loss_uncalibrated"] = float(nn.functional.cross_entropy(logits.float(), outputs["y"]))
        if self.decision is None:
            return values
        return {**values, **self._profit(p[:, 1], y, self.thresholds(outputs, split="test"))}

    def decisions(self, x: Any, probability: Tensor) -> Outputs:
        """Return whether each of N examples is decided against, and what each column adds to its log-odds.

        Args:
            x: a batch's inputs; probability: (N, 2).
        """
        if self.decision is None:
            return {}
        outputs: Outputs = {"against": self.decision.against(probability[:, 1])}
        if isinstance(x, Tensor):
            attribution = self.decision.attribute(self._log_odds, x)
            if attribution is not None:
                outputs["attribution"] = attribution
        return outputs

    def decision_columns(self, outputs: Outputs, examples: Any) -> dict[str, list[str]]:
        """Return the columns `decision` and `reason_1`, ... of predictions.

        Args:
            examples: with the rows of the input, which thresholds of groups need.
        """
        if self.decision is None:
            return {}
        against = outputs["against"].numpy()
        if self.by_group is not None:
            groups = self.by_group.groups_of(examples.source)
            limits = self.by_group.of(groups, self.decision.threshold)
            against = outputs["probability"][:, 1].double().numpy() >= limits
        columns = {"decision": [self.decision.actions[each] for each in against.astype(int)]}
        if "attribution" in outputs:
            columns |= self.decision.named(outputs["attribution"].numpy(), against)
        return columns

    def favourable_class(self, named: str | None) -> str | None:
        """As in `TaskInterface`; the default is the class that the decision accepts, else the last class."""
        if named is not None and named not in self.class_names:
            raise UserError(f"`fairness.favourable={named}`: the classes are {', '.join(self.class_names)}.")
        return named or self.class_names[0 if self.decision is not None else -1]

    def outcomes(self, outputs: Outputs, *, favourable: str | None = None) -> ClassOutcomes:
        name = str(self.favourable_class(favourable))
        number = self.class_names.index(name)
        p, y = self.probabilities(outputs["output"]).double().numpy(), outputs["y"].numpy()
        if self.decision is not None and len(self.class_names) == 2:
            against = p[:, 1] >= self.thresholds(outputs, split="test")
            decided = against if number else ~against
        else:
            decided = p.argmax(axis=1) == number
        return ClassOutcomes(name, decided, y == number, p[:, number])

    def decision_column_names(self) -> list[str]:
        """The names of those columns."""
        if self.decision is None:
            return []
        return ["decision", *(f"reason_{rank + 1}" for rank in range(self.decision.reasons))]

    def _log_odds(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return logits[:, 1] - logits[:, 0]

    def _fits_after_validation(self) -> bool:
        return self.calibration is not None or self.decision is not None

    def _is_assessed(self) -> bool:
        """Whether the outputs of a test are collected for `assess`."""
        return self._fits_after_validation()

    def _splits(self) -> Any:
        return getattr(self.trainer.datamodule, "splits", {})

    def _fit_on(self, outputs: Outputs) -> None:
        """Fit calibration and decision to a validation's outputs; every rank has them all, and does the same."""
        if not outputs or not bool(torch.isfinite(outputs["output"]).all()):
            return
        logits, y = outputs["output"].float(), outputs["y"]
        if self.calibration is not None:
            self.calibration.fit(logits, y)
            logits = self.calibration(logits)
        if self.decision is not None:
            probability = self.probabilities(logits)[:, 1].double().numpy()
            self.decision.fit(probability, (y == 1).numpy(), outputs.get("x"))
            self.log("val/threshold", self.decision.threshold, on_epoch=True)
            if self.by_group is not None:
                self._fit_by_group(probability, (y == 1).numpy(), outputs)

    def _fit_by_group(self, probability: np.ndarray, positive: np.ndarray, outputs: Outputs) -> None:
        assert self.decision is not None
        assert self.by_group is not None
        if "row" not in outputs:
            raise UserError("`fairness.mitigation=thresholds`: these data do not tell which rows a batch holds.")
        data: Any = self.trainer.datamodule
        groups = self.by_group.groups_in(data, "val", rows=outputs["row"])
        self.by_group.fit(probability, positive, groups, self.decision.profit)
        self.decision.by_group = self.by_group.state()

    def _profit(self, probability: np.ndarray, positive: np.ndarray, threshold: float | np.ndarray) -> dict[str, float]:
        assert self.decision is not None
        profit = self.decision.profit
        each = profit.of(probability, positive, threshold)
        half = 1.96 * float(each.std(ddof=1)) / len(each) ** 0.5 if len(each) > 1 else float("nan")
        accepted = probability < threshold
        return {
            "profit": float(each.mean()),
            "profit_low": float(each.mean()) - half,
            "profit_high": float(each.mean()) + half,
            "profit_if_all_accepted": float(profit.of(probability, positive, np.inf).mean()),
            "acceptance_rate": float(accepted.mean()),
            "positives_among_accepted": float(positive[accepted].mean()) if accepted.any() else float("nan"),
            "threshold": self.decision.threshold,
        }

    def decision_metrics(self) -> dict[str, Metric]:
        """Return the metrics of a score with a decision, beside accuracy and the like."""
        if self.decision is None:
            return {}
        return {"gini": Gini(), "ks": KS(), "average_precision": AveragePrecision()}
