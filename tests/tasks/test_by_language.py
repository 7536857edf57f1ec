"""Losses of languages and scripts add up to the whole, and are recorded and drawn."""

import json
from collections.abc import Callable
from math import log
from pathlib import Path

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

import lantu
from lantu.tasks import LanguageModeling
from lantu.tasks.metrics_by_language import LossByLanguage

SMALL = ["data.batch_size=8", "data.context=32"]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A mirror folder with a few languages in two scripts."""
    words = {"eng": "freedom", "fra": "liberté", "rus": "свобода", "ukr": "воля"}
    rows = {name: "\n".join(f"{word} {number} {word[::-1]}" for number in range(90)) for name, word in words.items()}
    (tmp_path / "mirror" / "udhr").mkdir(parents=True)
    table = pd.DataFrame({"language": list(rows), "text": list(rows.values())})
    table.to_parquet(tmp_path / "mirror" / "udhr" / "train.parquet")
    return tmp_path / "mirror"


def test_sums_are_those_of_a_loop_over_rows() -> None:
    torch.manual_seed(0)
    output, y = torch.randn(6, 5, 7), torch.randint(7, (6, 5))
    y[2, 3:] = -100
    about = torch.tensor([[0, 9], [2, 8], [2, 3], [0, 1], [2, 2], [0, 5]])
    metric = LossByLanguage(3)
    for rows in (slice(0, 2), slice(2, 6)):
        metric.update(output[rows], y[rows], about[rows])
    sums = metric.compute()
    for language in range(3):
        rows = about[:, 0] == language
        asked = y[rows] != -100
        picked = output[rows].log_softmax(-1).gather(2, y[rows].clamp(min=0)[..., None])[..., 0]
        assert float(sums["loss"][language]) == pytest.approx(-float(picked[asked].sum()), abs=1e-4)
        assert int(sums["tokens"][language]) == int(asked.sum())
        assert int(sums["bytes"][language]) == int(about[rows, 1].sum())


@pytest.mark.parametrize("model", ["gpt", "bert_mlm"])
def test_languages_and_scripts_weighted_add_up_to_the_total_and_are_recorded(
    model: str, train_shortly: Callable[..., lantu.Result], texts: Path
) -> None:
    level = ["data.level=bpe", "data.vocab_size=600"] if model == "bert_mlm" else ["model.layers=1", "model.width=32"]
    result = train_shortly(
        "data=udhr", f"model={model}", *SMALL, *level, f"paths.mirror={texts}", "save_model=false", pictures=True
    )
    module = result.module
    table = module.tables["test"]  # type: ignore[union-attr, index]
    assert sorted(table["language"]) == ["eng", "fra", "rus", "ukr"]
    loss = sum(each * weight for each, weight in zip(table["loss"], table["tokens"], strict=True))
    assert loss / sum(table["tokens"]) == pytest.approx(result.metrics["test/loss"], abs=2e-3)
    measure, unit = ("bits_per_byte", "bytes") if model == "gpt" else ("loss", "tokens")
    total = result.metrics[f"test/{measure}"]
    assert sum(a * b for a, b in zip(table[measure], table[unit], strict=True)) / sum(table[unit]) == pytest.approx(
        total, abs=2e-3
    )
    by_script = {
        name.rpartition("/")[2]: value
        for name, value in result.metrics.items()
        if "test/" in name and "/slice/script/" in name
    }
    weights = {
        script: sum(w for s, w in zip(table["script"], table[unit], strict=True) if s == script) for script in by_script
    }
    assert by_script.keys() == {"Cyrillic", "Latin"}
    assert sum(by_script[each] * weights[each] for each in weights) / sum(weights.values()) == pytest.approx(
        total, abs=2e-3
    )
    assert (result.run_dir / "figures" / "languages_test.png").is_file()
    journal = [json.loads(line) for line in (result.run_dir / "journal" / "records.jsonl").read_text().splitlines()]
    assert any(record.get("path") == "tables/languages_test.json" for record in journal)


def test_bits_per_byte_are_those_of_a_loop_over_the_test_texts(
    train_shortly: Callable[..., lantu.Result], texts: Path
) -> None:
    result = train_shortly(
        "data=udhr", "data.level=bpe", "data.vocab_size=400", "data.tagged=true", "model=gpt", "model.layers=1",
        "model.width=32", *SMALL, f"paths.mirror={texts}", "save_model=false",
    )  # fmt: skip
    net, encode = result.module.net.eval(), result.data.encode
    whole = pd.read_parquet(texts / "udhr" / "train.parquet")
    nats, size = 0.0, 0
    for language, text in zip(whole["language"], whole["text"], strict=True):
        lines = text.splitlines()
        begins = pd.Series(map(len, lines)).cumsum().shift(fill_value=0) / sum(map(len, lines))
        held_out = "\n".join(line for line, begin in zip(lines, begins, strict=True) if begin >= 0.9)
        size += len(held_out.encode())
        tokens = encode(held_out)
        for at in range(0, len(tokens), 32):
            row = torch.tensor([encode(f"<|{language}|>")[0], *tokens[at : at + 32]])
            with torch.no_grad():
                nats += float(torch.nn.functional.cross_entropy(net(row[None, :-1])[0], row[1:], reduction="sum"))
    assert sum(result.module.tables["test"]["bytes"]) == size  # type: ignore[union-attr, index]
    assert result.metrics["test/bits_per_byte"] == pytest.approx(nats / log(2) / size, abs=1e-3)


def test_training_goes_on_with_other_rows_in_the_next_epoch(texts: Path) -> None:
    seen: list[list[int]] = []

    class Watch(pl.Callback):
        def on_train_batch_start(
            self, trainer: pl.Trainer, pl_module: object, batch: tuple[torch.Tensor, ...], *_: object
        ) -> None:
            seen.append(batch[0].flatten().tolist())

    from lantu.config.build import build

    data = build(lantu.compose("data=udhr", "model=gpt", "data.batch_size=4", f"paths.mirror={texts}").cfg.data)
    net = torch.nn.Embedding(256, 256)
    task = LanguageModeling(
        net, bytes_per_token=1.0, context=128, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.1)
    )
    trainer = pl.Trainer(
        max_epochs=2, limit_train_batches=2, limit_val_batches=0, callbacks=[Watch()], accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(task, datamodule=data)
    assert len(seen) == 4
    assert len({tuple(each) for each in seen}) == 4


@pytest.mark.slow
def test_the_recipe_for_many_languages_takes_steps(train_shortly: Callable[..., lantu.Result], texts: Path) -> None:
    result = train_shortly("experiment=languages", f"paths.mirror={texts}", "save_model=false")
    assert 0 < result.metrics["test/bits_per_byte"] < 9


def test_a_mean_loss_counts_the_tokens_that_are_asked_for_and_no_filling() -> None:
    task = LanguageModeling(torch.nn.Embedding(5, 5), bytes_per_token=1.0, context=3)
    for x, y in (([[1, 2, 3]], [[2, 3, 4]]), ([[1, 0, 0]], [[2, -100, -100]])):
        task.validation_step((torch.tensor(x), torch.tensor(y)), 1)
    logits = task.net(torch.tensor([1, 2, 3, 1]))
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 3, 4, 2]))
    assert torch.isclose(task.mean_loss["val_"].compute(), expected)
