"""From pre-training to fine-tuning: the folder that a run leaves, LoRA on top of it, and both found again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import tokenizers
import torch
import transformers
from pytorch_lightning import Trainer

import lantu
from lantu.inference.evaluate import evaluate
from lantu.inference.rebuild import rebuild

Train = Callable[..., lantu.Result]
SMALL = ("model.config.hidden_size=32", "model.config.intermediate_size=32", "data.batch_size=16", "save_model=false")


@pytest.mark.parametrize("peft", ["none", "lora"])
def test_a_pretrained_folder_is_fine_tuned_and_the_run_outlives_it(
    peft: str, own_data: dict[str, list[str]], train_shortly: Train, tmp_path: Path
) -> None:
    reviews = own_data["text_table"]
    first = train_shortly(
        "data=text_table", *reviews, "data.level=wordpiece", "model=bert_mlm", "callbacks=[default,transformers]",
        f"peft={peft}", f"paths.run={tmp_path}/first", *SMALL,
    )  # fmt: skip
    folder = first.run_dir / "transformers"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.mask_token_id == first.data.spec["mask_id"]
    ours = first.data.examples_of(pd.DataFrame({"text": ["good film number 7"]})).__getitems__([0])
    assert tokenizer("good film number 7").input_ids == ours[0].tolist()
    net = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokens = torch.tensor([tokenizer("good film number 7").input_ids])
    torch.testing.assert_close(net(tokens).logits, first.module.eval().net(tokens), atol=1e-4, rtol=1e-4)

    second = train_shortly(
        "data=text_table", *reviews, f"data.tokenizer={folder}", "model=bert", f"model.pretrained={folder}",
        f"peft={peft}", f"paths.run={tmp_path}/second", *SMALL, "seed=1",
    )  # fmt: skip
    base = second.module.net.net
    embedded = base.get_input_embeddings().weight
    assert (peft == "lora") == torch.equal(embedded, net.get_input_embeddings().weight)
    shutil.rmtree(folder)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                      default_root_dir=tmp_path)  # fmt: skip
    again = evaluate(rebuild(second.best_checkpoint), trainer)
    assert again == {name: value for name, value in second.metrics.items() if name.startswith("test/")}
    journal = (second.run_dir / "journal" / "records.jsonl").read_text().splitlines()
    recorded = {name: value for line in journal for name, value in json.loads(line).get("values", {}).items()}
    assert ("model/trained_parameters" in recorded) == (peft == "lora")


@pytest.mark.parametrize(
    "adapt", [["peft=none"], ["peft=lora", "peft.target_modules=[q_lin,v_lin]"]], ids=["none", "lora"]
)
def test_the_question_answering_recipe_goes_on_from_a_folder(
    adapt: list[str],
    own_data: dict[str, list[str]],
    train_shortly: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LANTU_MIRROR", raising=False)  # it would be preferred to the one that the run was given
    texts = pd.read_parquet(Path(own_data["squad"][0].partition("=")[2]) / "rajpurkar" / "squad" / "train.parquet")
    folder = _distilbert(tmp_path / "distilbert", texts["context"].tolist())
    result = train_shortly(
        "experiment=question_answering", *own_data["squad"], f"model.pretrained={folder}", *adapt,
        "data.max_length=32", "data.overlap=8", "save_model=false",
    )  # fmt: skip
    given = transformers.AutoModel.from_pretrained(folder).get_input_embeddings().weight
    embedded = result.module.net.net.get_input_embeddings().weight
    assert ("peft=lora" in adapt) == torch.equal(embedded, given)
    shutil.rmtree(folder)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                      default_root_dir=tmp_path)  # fmt: skip
    again = evaluate(rebuild(result.best_checkpoint), trainer)
    assert again == {name: value for name, value in result.metrics.items() if name.startswith("test/")}
    assert {"test/exact_match", "test/f1"} <= again.keys()


def _distilbert(folder: Path, texts: list[str]) -> Path:
    """A folder as the hub has them, small and untrained."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = tokenizers.trainers.WordPieceTrainer(special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    config = transformers.DistilBertConfig(
        vocab_size=tokenizer.get_vocab_size(), dim=32, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=64
    )
    transformers.DistilBertForMaskedLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_a_network_that_is_not_of_transformers_leaves_no_folder(train_shortly: Train) -> None:
    with pytest.raises(lantu.UserError, match="MLP is none: leave `transformers` out"):
        train_shortly("model=mlp", "callbacks=[default,transformers]")
