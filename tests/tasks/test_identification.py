"""Accuracies of languages and scripts add up to the whole, and are recorded and drawn."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import lantu


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A mirror folder with a few languages in two scripts, two of them varieties of one that are written alike."""
    words = {"eng_GB": "freedom", "eng_US": "freedom", "fra": "liberté", "rus": "свобода", "ukr": "воля"}
    rows = {name: "\n".join(f"{word} {number} {word[::-1]}" for number in range(150)) for name, word in words.items()}
    (tmp_path / "mirror" / "udhr").mkdir(parents=True)
    table = pd.DataFrame({"language": list(rows), "text": list(rows.values())})
    table.to_parquet(tmp_path / "mirror" / "udhr" / "train.parquet")
    return tmp_path / "mirror"


def answers(result: lantu.Result) -> tuple[list[str], list[str]]:
    """What the model takes each test text for, and what it is."""
    data, net = result.data, result.module.net.eval()  # type: ignore[union-attr]
    names = np.array(data.spec["class_names"])
    with torch.no_grad():
        pairs = [(net(x.to("cpu")).argmax(dim=1), y) for x, y in data.test_dataloader()]
    return tuple(names[torch.cat(each)].tolist() for each in zip(*pairs, strict=True))  # type: ignore[return-value]


def test_the_recipe_tells_languages_apart_and_says_how_well_for_each(
    train: Callable[..., lantu.Result], texts: Path
) -> None:
    result = train(
        "experiment=language_identification", f"paths.mirror={texts}", "model.buckets=4096", "data.length=20",
        "data.batch_size=16", "trainer.enable_progress_bar=false", "logger.mlflow.ship=false", "save_model=false",
        pictures=True,
    )  # fmt: skip
    metrics = result.metrics
    found, truth = answers(result)
    right_code = [one.partition("_")[0] == other.partition("_")[0] for one, other in zip(found, truth, strict=True)]
    assert metrics["test/accuracy_of_code"] == pytest.approx(np.mean(right_code))
    assert np.mean(right_code) > 0.9
    assert metrics["test/accuracy"] == pytest.approx(np.mean(np.array(found) == truth))
    assert metrics["test/accuracy"] < 0.9  # nothing tells the two varieties apart
    table = result.module.tables["test"]  # type: ignore[union-attr, index]
    assert sorted(table["language"]) == ["eng_GB", "eng_US", "fra", "rus", "ukr"]
    right = sum(share * number for share, number in zip(table["accuracy"], table["texts"], strict=True))
    assert right / sum(table["texts"]) == pytest.approx(metrics["test/accuracy"], abs=1e-3)
    for script in ("Latin", "Cyrillic"):
        rows = [row for row, each in enumerate(table["script"]) if each == script]
        share = sum(table["accuracy"][row] * table["texts"][row] for row in rows) / sum(table["texts"][r] for r in rows)
        assert metrics[f"test/accuracy/slice/script/{script}"] == pytest.approx(share, abs=1e-3)
    assert (result.run_dir / "figures" / "languages_test.png").is_file()
    journal = [json.loads(line) for line in (result.run_dir / "journal" / "records.jsonl").read_text().splitlines()]
    assert any(record.get("path") == "tables/languages_test.json" for record in journal)


def test_a_masked_model_of_the_languages_is_fine_tuned_to_tell_them_apart(
    train_shortly: Callable[..., lantu.Result], texts: Path, tmp_path: Path
) -> None:
    small = ("data.batch_size=16", f"paths.mirror={texts}", "save_model=false")
    first = train_shortly("experiment=languages_masked", *small, "data.vocab_size=300", f"paths.run={tmp_path}/first")
    folder = first.run_dir / "transformers"
    second = train_shortly(
        "data=udhr_identification", "model=bert", f"model.pretrained={folder}", f"data.tokenizer={folder}", *small,
        "data.length=20", "data.max_length=64", "optimizer.lr=0.0", f"paths.run={tmp_path}/second",
    )  # fmt: skip
    before, after = first.module.net.net.state_dict(), second.module.net.net.state_dict()
    shared = [name for name in before if name.startswith("model.")]
    assert shared
    assert all(torch.equal(before[name], after[name]) for name in shared)
    assert "test/accuracy/slice/script/Cyrillic" in second.metrics
