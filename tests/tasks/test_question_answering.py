"""Spans, exact match and F1, and a run from questions to answers."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import transformers
from pytorch_lightning import Trainer
from torch import nn
from torchmetrics.text import SQuAD

import lantu
from lantu.inference.evaluate import evaluate
from lantu.inference.predict import predict
from lantu.inference.rebuild import rebuild
from lantu.models import ReadingTransformer
from lantu.tasks import QuestionAnswering
from lantu.tasks.question_answering import answers_of

BERT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def test_the_wrapper_gives_transformers_own_logits_and_the_task_its_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    reference = transformers.BertForQuestionAnswering(
        transformers.BertConfig(vocab_size=50, max_position_embeddings=20, **BERT)
    ).eval()
    reference.save_pretrained(tmp_path)
    net = ReadingTransformer(50, max_length=20, pad_id=0, pretrained=str(tmp_path)).eval()
    belongs = torch.tensor([[0] * 4 + [1] * 10 + [3], [0] * 4 + [1] * 6 + [3] + [2] * 4])
    tokens = torch.randint(1, 50, (2, 15)).masked_fill(belongs == 2, 0)
    theirs = reference(tokens, attention_mask=(belongs != 2).long(), token_type_ids=(belongs % 2))
    ours = net(torch.stack([tokens, belongs], dim=1))
    possible = belongs == 1
    torch.testing.assert_close(ours[:, 0][possible], theirs.start_logits[possible])
    torch.testing.assert_close(ours[:, 1][possible], theirs.end_logits[possible])
    assert (ours[:, :, 1:4] == -1e4).all()
    y = torch.tensor([[5, 7, 0], [0, 0, 1]])
    free = torch.stack([theirs.start_logits, theirs.end_logits], dim=1)
    with_labels = reference(tokens, attention_mask=(belongs != 2).long(), token_type_ids=(belongs % 2),
                            start_positions=y[:, 0], end_positions=y[:, 1])  # fmt: skip
    torch.testing.assert_close(QuestionAnswering(net).loss(free, y, stage="train"), with_labels.loss)


def test_the_best_span_ends_after_it_begins_and_is_not_too_long() -> None:
    output = torch.full((2, 2, 8), -5.0)
    output[0, 0, 6], output[0, 1, 2] = 9.0, 9.0  # the likeliest ends are in the wrong order
    output[0, 0, 1], output[0, 1, 7] = 8.0, 8.0
    output[1, :, 0] = 20.0  # "not in this window" is no span
    output[1, 0, 3], output[1, 1, 4] = 1.0, 1.0
    spans = QuestionAnswering(nn.Identity(), max_answer=2).best_spans(output)
    for first, last in zip(spans["first"].tolist(), spans["last"].tolist(), strict=True):
        assert 0 < first <= last < first + 2
    assert (int(spans["first"][0]), int(spans["last"][0])) in ((1, 2), (6, 7))
    assert (int(spans["first"][1]), int(spans["last"][1])) == (3, 4)


@pytest.fixture(scope="module")
def rights(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real sentences (the Declaration of Human Rights in English), each asked for its words after "the"."""
    texts = pd.read_parquet(mirror / "udhr" / "train.parquet")
    english = texts[texts["language"].str.startswith("eng") | texts["language"].str.contains("English")]["text"].iloc[0]
    sentences = [line.strip() for line in english.splitlines() if line.count(" the ") == 1 and 40 < len(line) < 200]
    rows = [
        {"question": f"the what, in {text.split()[0]} {number}?", "context": text,
         "answer": " ".join(text.split(" the ")[1].split()[:2])}
        for number, text in enumerate(dict.fromkeys(sentences))
    ]  # fmt: skip
    file = tmp_path_factory.mktemp("rights") / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows[:24]))
    return file


@pytest.mark.slow
def test_what_was_learned_by_heart_is_answered_and_measured_as_torchmetrics_does(
    rights: Path, train: Callable[..., lantu.Result], tmp_path: Path
) -> None:
    """A test of the mechanism: a small network remembers these questions, which shows no understanding."""
    result = train(
        "data=questions", f"data.path={rights}", "model=bert_qa", "data.batch_size=8", "data.max_length=64",
        "data.overlap=16", "data.min_count=1", "optimizer.lr=3e-3", "trainer.max_epochs=80",
        "model.config.hidden_size=64", "model.config.hidden_dropout_prob=0",
        "trainer.enable_progress_bar=false", "logger.mlflow.ship=false",
        "trainer.check_val_every_n_epoch=80",
    )  # fmt: skip
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                      default_root_dir=tmp_path)  # fmt: skip
    rebuilt = rebuild(result.best_checkpoint)
    assert evaluate(rebuild(result.best_checkpoint), trainer) == {
        name: value for name, value in result.metrics.items() if name.startswith("test/")
    }
    part = result.data.splits["train"]
    learned = pd.DataFrame({"question": _questions(rights, part.contexts), "context": part.contexts})
    learned.to_csv(tmp_path / "questions.csv")
    answers = predict(rebuilt, trainer, tmp_path / "questions.csv")
    truth = [each[0] for each in part.answers]
    assert (answers["prediction"] == [each.text for each in truth]).mean() >= 0.9
    assert answers["probability"].between(0, 1).all()

    task, metric = result.module.eval(), SQuAD()
    tested = result.data.splits["test"]
    with torch.no_grad():
        found = answers_of(tested, task.predict_step(tested.__getitems__(list(range(len(tested)))), 0))
    metric.update(
        [{"prediction_text": text, "id": str(number)} for number, text, _ in found],
        [{"answers": {"text": [a.text for a in given], "answer_start": [a.start for a in given]}, "id": str(number)}
         for number, given in enumerate(tested.answers)],
    )  # fmt: skip
    expected = metric.compute()
    assert result.metrics["test/exact_match"] == pytest.approx(float(expected["exact_match"]) / 100)
    assert result.metrics["test/f1"] == pytest.approx(float(expected["f1"]) / 100)


def _questions(file: Path, contexts: list[str]) -> list[str]:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [next(row["question"] for row in rows if row["context"] == context) for context in contexts]
