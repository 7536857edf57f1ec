"""Fill the slots of an order: one choice of several for each slot, at once."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import MetricCollection

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.tasks.baselines import Baseline
from lantu.tasks.outputs import Outputs
from lantu.tasks.slot_scores import SlotScores
from lantu.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema

UNKNOWN = -1
"""The target of a value that training lacks."""
LATENCIES = 20
"""Recordings whose time from samples to answer is measured."""


class SlotFilling(Task):
    """Networks answer logits (N, sum of all choices); targets are the number of each choice (N, choices).

    A slot is one choice (its value, 0 being "not filled"), or two (its value and what stands before it). The loss is
    the mean of the choices' cross-entropies; the prefix of an empty slot is not asked for. `val/slot_f1` is the F1 over
    all filled slots, where a slot is right if all of its choices are; `val/exact_match` the share of the recordings
    whose slots are all right, also the empty ones.

    Args:
        slots: `name`, `values` and `prefixes` of each (`lantu.data.SlotDataModule`).
        noise_levels: signal-to-noise ratios in decibels at which the test split is measured again, with babble.
        options: of `Task`.
    """

    def __init__(
        self, net: nn.Module, *, slots: list[Mapping[str, Any]], noise_levels: list[float] | None = None, **options: Any
    ) -> None:
        super().__init__(net, **options)
        from lantu.data.multimodal.slot_data_module import Slot

        self.slots = [Slot(str(each["name"]), list(each["values"]), list(each["prefixes"])) for each in slots]
        if not self.slots:
            raise UserError("these data have no slot with more than one value, so there is nothing to learn.")
        self.sizes = [size for slot in self.slots for size in slot.sizes]
        self.noise_levels = [float(level) for level in noise_levels or []]
        self.use_metrics(lambda: MetricCollection({"slots": SlotScores([slot.name for slot in self.slots])}))

    def loss(self, output: Tensor, y: Tensor, *, stage: str) -> Tensor:
        losses = []
        for logits, target in zip(output.split(self.sizes, dim=1), self._scored_targets(y).T, strict=True):
            known = target != UNKNOWN
            each = F.cross_entropy(logits.float(), target.clamp(min=0), reduction="none")
            losses.append(torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1))
        return torch.stack(losses).mean()

    def observe(self, metrics: MetricCollection, output: Tensor, y: Tensor) -> None:
        right, predicted, filled = self.judged(self.choices(output)[0], y)
        metrics["slots"].update(right, predicted, filled)

    def choices(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest number of each choice (N, choices), and the probability of each slot's answer (N, slots)."""
        split = [logits.float().softmax(-1) for logits in output.split(self.sizes, dim=1)]
        numbers = torch.stack([each.argmax(-1) for each in split], dim=1)
        best = torch.stack([each.amax(-1) for each in split], dim=1)
        parts = []
        for first, slot in self._places():
            both = best[:, first] * best[:, first + 1] if slot.prefixes else best[:, first]
            parts.append(torch.where(numbers[:, first] == 0, best[:, first], both))
        return numbers, torch.stack(parts, dim=1)

    def judged(self, numbers: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For each slot (N, slots): whether it is right, whether it was predicted filled, and whether it is filled."""
        right, predicted, filled = [], [], []
        for first, slot in self._places():
            agree = numbers[:, first] == y[:, first]
            predicted.append(numbers[:, first] != 0)
            filled.append(y[:, first] != 0)
            if slot.prefixes:
                agree = agree & ((numbers[:, first + 1] == y[:, first + 1]) | ~filled[-1])
            right.append(agree)
        return torch.stack(right, 1), torch.stack(predicted, 1), torch.stack(filled, 1)

    def collect(self, output: Tensor, y: Tensor) -> Outputs:
        numbers, confidence = self.choices(output)
        return {"numbers": numbers, "confidence": confidence, "y": y}

    def predictions(self, output: Tensor) -> Outputs:
        """The number of each choice (N, choices) and each slot's probability (N, slots)."""
        numbers, confidence = self.choices(output)
        return {"numbers": numbers, "confidence": confidence}

    def to_frame(self, outputs: Outputs, examples: Dataset) -> "pd.DataFrame":
        """The text of each slot, empty where it is not filled; `NAME_probability`; and their product, `confidence`."""
        import pandas as pd

        columns: dict[str, Any] = dict(self._texts(outputs["numbers"]))
        for place, slot in enumerate(self.slots):
            columns[f"{slot.name}_probability"] = outputs["confidence"][:, place].double().numpy()
        columns["confidence"] = outputs["confidence"].double().prod(dim=1).numpy()
        return pd.DataFrame(columns)

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        numbers = [*(f"{slot.name}_probability" for slot in self.slots), "confidence"]
        return Schema(
            [*(ColSpec("string", slot.name) for slot in self.slots), *(ColSpec("double", n) for n in numbers)]
        )

    def per_example(self, outputs: Outputs) -> dict[str, Any]:
        """All filled slots as said and as understood, and how many are wrong."""
        right, _, _ = self.judged(outputs["numbers"], outputs["y"])
        columns: dict[str, Any] = {"row": outputs["row"]} if "row" in outputs else {}
        return {
            **columns,
            "target": self._orders(outputs["y"]),
            "prediction": self._orders(outputs["numbers"]),
            "errors": (~right).sum(1).numpy(),
            "confidence": outputs["confidence"].double().prod(dim=1).numpy(),
        }

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """Of the test: how each slot does beside always saying its commonest value, and the worst recordings."""
        if stage != "test" or not outputs:
            return
        import pandas as pd

        right, predicted, filled = self.judged(outputs["numbers"], outputs["y"])
        rows = []
        for place, slot in enumerate(self.slots):
            hits = (right & predicted & filled)[:, place].sum()
            f1 = float(2 * hits / (predicted[:, place].sum() + filled[:, place].sum()).clamp(min=1))
            rows.append(
                (
                    slot.name,
                    len(slot.values) - 1,
                    int(filled[:, place].sum()),
                    f1,
                    float(right[:, place].float().mean()),
                )
            )
        yield "slots", pd.DataFrame(rows, columns=["slot", "values", "filled", "f1", "accuracy"])
        worst = pd.DataFrame(self.per_example(outputs)).sort_values("errors", ascending=False, kind="stable")
        yield "worst_recordings", worst.head(50)

    def samples(self, data: DataModule, *, stage: str = "val") -> dict[str, Any]:
        """Of the test: F1 and exact match of recordings with babble, and milliseconds from an input to its slots."""
        if stage != "test" or "test" not in data.splits:
            return {}
        found: dict[str, Any] = {}
        training = self.training
        self.eval()
        with torch.inference_mode():
            for level in self.noise_levels if data.takes_recordings else ():
                scores = SlotScores([])
                for batch in data.loader(data.noisy("test", level)):
                    x, y = batch
                    scores.update(*self.judged(self.choices(self.net(x.to(self.device)).cpu())[0], y))
                name = f"{level:g}".replace("-", "minus_").replace(".", "_")
                found |= {f"test/snr_{name}_db_{key}": float(value) for key, value in scores.compute().items()}
            seconds = []
            for each in data.first_inputs("test", LATENCIES):
                started = time.perf_counter()
                self.respond(data, [each])
                seconds.append(time.perf_counter() - started)
            found["test/answer_latency_ms"] = 1000 * float(np.median(seconds))
        self.train(training)
        return found

    def usage(self, run_dir: Path) -> list[tuple[str, str]]:
        if self._trainer is not None and not self.trainer.datamodule.takes_recordings:
            return [
                ("lantu predict run=last input=TABLE", "fill the slots of texts"),
                ("lantu assistant recognise=RUN understand=last input=FILE.wav", "after a recogniser"),
            ]
        return [
            ("lantu predict run=last input=FOLDER", "fill the slots of recordings"),
            ("lantu assistant understand=last input=FILE.wav", "one recording, with confidence and time"),
        ]

    @classmethod
    def baselines(cls, data: DataModule) -> list[Baseline]:
        from lantu.tasks.slot_baselines import slot_baselines

        task = cls(nn.Identity(), slots=data.spec["slots"])
        return slot_baselines(data, [slot.name for slot in task.slots], task.judged)

    def _scored_targets(self, y: Tensor) -> Tensor:
        """Targets (N, choices) without the prefixes of empty slots."""
        targets = y.clone()
        for first, slot in self._places():
            if slot.prefixes:
                targets[:, first + 1] = torch.where(y[:, first] == 0, UNKNOWN, y[:, first + 1])
        return targets

    def _places(self) -> Iterator[tuple[int, Any]]:
        """Each slot with the place of its first choice."""
        first = 0
        for slot in self.slots:
            yield first, slot
            first += len(slot.sizes)

    def _texts(self, numbers: Tensor) -> dict[str, list[str]]:
        found = {}
        for first, slot in self._places():
            chosen = numbers[:, first : first + len(slot.sizes)].tolist()
            found[slot.name] = [slot.decode(each) for each in chosen]
        return found

    def _orders(self, numbers: Tensor) -> list[str]:
        texts = self._texts(numbers)
        rows = zip(*texts.values(), strict=True)
        return [", ".join(f"{name}: {text}" for name, text in zip(texts, row, strict=True) if text) for row in rows]
