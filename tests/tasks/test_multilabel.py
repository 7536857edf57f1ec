"""Pictures with any number of labels: the two ways to write them, what is unknown, metrics, predictions."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pytorch_lightning import Trainer
from torch import nn
from torchmetrics.functional import classification as reference

import lantu
from lantu.data import ImageDataModule, image_table
from lantu.errors import UserError
from lantu.inference.predict import predict
from lantu.inference.rebuild import rebuild
from lantu.tasks import MultiLabel
from lantu.tasks.multilabel_scores import MultiLabelScores

LABELS = ["bright", "dotted", "wide"]


def pictures(folder: Path, *, count: int = 90) -> pd.DataFrame:
    """Grey pictures that are bright, wide and dotted, or none of it; one table with columns, one with a list."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    has = random.random((count, 3)) < (0.5, 0.2, 0.4)
    for number, (bright, dotted, wide) in enumerate(has):
        pixels = random.normal(70, 15, (12, 12)) + 60 * bright
        pixels[4:7] += 90 * wide
        pixels[::3, ::3] += 110 * dotted
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:03}.png")
    table = pd.DataFrame({"file": [f"{number:03}.png" for number in range(count)], "patient": np.arange(count) // 2})
    listed = ["; ".join(np.array(LABELS)[row]) for row in has]
    table.assign(findings=listed).to_csv(folder / "listed.csv", index=False)
    columns = table.assign(**dict(zip(LABELS, has.T.astype(int), strict=True)))
    columns.to_csv(folder / "columns.csv", index=False)
    return columns


def module(table: Path, **options: Any) -> ImageDataModule:
    made = ImageDataModule(source=lambda: image_table(str(table)), cache=str(table.parent.parent / "cache"), **options)
    made.setup("fit")
    return made


def targets(made: ImageDataModule) -> dict[int, list[float]]:
    """By the number of its picture, what an example has; NaN is -1."""
    return {
        int(row): label
        for part in made.splits.values()
        for row, label in zip(part.rows, part.y.nan_to_num(nan=-1).tolist(), strict=True)  # type: ignore[attr-defined]
    }


def test_columns_and_a_cell_with_several_labels_say_the_same(tmp_path: Path) -> None:
    columns = pictures(tmp_path / "made")
    one = module(tmp_path / "made" / "columns.csv", target=LABELS, group="patient")
    other = module(tmp_path / "made" / "listed.csv", target="findings", delimiter=";", fold=1, folds=3, group="patient")
    assert one.spec["label_names"] == other.spec["label_names"] == LABELS
    assert one.spec["outputs"] == 3
    assert targets(one) == targets(other) == dict(enumerate(columns[LABELS].astype(float).to_numpy().tolist()))
    for made in (one, other):
        patients = [set(columns["patient"].to_numpy()[part.rows]) for part in made.splits.values()]  # type: ignore[attr-defined]
        assert len(set.union(*patients)) == sum(map(len, patients))


def test_a_missing_or_uncertain_value_is_unknown_and_a_row_without_any_is_left_out(tmp_path: Path) -> None:
    columns = pictures(tmp_path / "made").astype(dict.fromkeys(LABELS, object))
    columns.loc[0, "bright"], columns.loc[1, "wide"] = None, -1
    columns.loc[89, LABELS] = None
    columns.to_csv(tmp_path / "made" / "columns.csv", index=False)
    made = module(tmp_path / "made" / "columns.csv", target=LABELS)
    found = targets(made)
    assert (found[0][0], found[1][2]) == (-1, -1)
    assert sorted(found) == list(range(89))
    assert "2 labels without a value are neither learned nor measured" in "\n".join(made.report.lines())


def test_a_value_that_says_neither_yes_nor_no_is_refused(tmp_path: Path) -> None:
    columns = pictures(tmp_path / "made")
    columns.assign(wide="perhaps").to_csv(tmp_path / "made" / "columns.csv", index=False)
    with pytest.raises(UserError, match="column wide holds 'perhaps'"):
        module(tmp_path / "made" / "columns.csv", target=LABELS)


def test_what_is_unknown_adds_to_no_loss_and_no_metric() -> None:
    output, y = torch.randn(50, 3), (torch.rand(50, 3) < 0.4).float()
    hidden = torch.rand(50, 3) < 0.3
    task = MultiLabel(nn.Identity(), label_names=LABELS)
    masked = y.masked_fill(hidden, float("nan"))
    expected = F.binary_cross_entropy_with_logits(output[~hidden], y[~hidden])
    assert task.loss(output, masked, stage="val").item() == pytest.approx(expected.item(), rel=1e-5)
    assert int(task.weight(masked)) == int((~hidden).sum())
    scores = MultiLabelScores(LABELS)
    for part in (slice(0, 20), slice(20, 50)):
        scores.update(output[part].sigmoid(), masked[part])
    found = scores.compute()
    truth = masked.nan_to_num(nan=-1).long()
    options: dict[str, Any] = {"num_labels": 3, "ignore_index": -1}
    for name, metric in {
        "auroc": reference.multilabel_auroc, "map": reference.multilabel_average_precision,
        "f1": reference.multilabel_f1_score,
    }.items():  # fmt: skip
        assert found[name].item() == pytest.approx(metric(output.sigmoid(), truth, **options).item(), abs=1e-5), name
    micro = reference.multilabel_f1_score(output.sigmoid(), truth, average="micro", **options)
    assert found["f1_micro"].item() == pytest.approx(micro.item(), abs=1e-5)


def test_a_label_that_no_example_has_is_left_out_of_the_means() -> None:
    scores = MultiLabelScores(LABELS)
    scores.update(torch.tensor([[0.9, 0.4, 0.2], [0.1, 0.3, 0.6]]), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    found = scores.compute()
    assert "auroc_dotted" not in found
    assert found["map"] == found["auroc"] == 1


def test_positives_weigh_as_their_rarity_says() -> None:
    task = MultiLabel(
        nn.Identity(), label_names=LABELS, label_counts=[10, 50, 25], label_known=[100, 100, 75],
        positive_weight="balanced",
    )  # fmt: skip
    assert task.positive_weight is not None
    assert task.positive_weight.tolist() == [9, 1, 2]


def test_a_run_learns_the_labels_and_predicts_a_probability_of_each(tmp_path: Path) -> None:
    columns = pictures(tmp_path / "made", count=160)
    result = lantu.run(
        lantu.compose(
            f"paths.root={tmp_path}", "data=image_table", f"data.path={tmp_path}/made/listed.csv",
            "data.target=findings", "data.delimiter=semicolon", "model=cnn", "model.widths=[8,16]", "optimizer.lr=1e-2",
            "augment=light", "augment.mixup=0.2", "trainer.max_epochs=6", "trainer.enable_progress_bar=false",
            "trainer.accelerator=cpu", "logger.mlflow.ship=false", "save_model=false",
            "callbacks.checkpoint.monitor=val/map", "callbacks.checkpoint.mode=max",
        )
    )  # fmt: skip
    assert result.metrics["test/map"] > 0.8
    assert {f"test/auroc_{name}" for name in LABELS} <= set(result.metrics)
    rebuilt = rebuild(result.best_checkpoint)  # type: ignore[arg-type]
    table = predict(rebuilt, Trainer(logger=False, enable_progress_bar=False), tmp_path / "made" / "listed.csv")
    right = [
        (name in cell.split("|")) == bool(has)
        for cell, row in zip(table["prediction"], columns[LABELS].to_numpy(), strict=True)
        for name, has in zip(LABELS, row, strict=True)
    ]
    assert np.mean(right) > 0.8
    assert [name for name in table if name.startswith("probability_")] == [f"probability_{name}" for name in LABELS]
