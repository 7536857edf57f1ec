"""Which tokens are hidden, how, and what is measured on them."""

import pytest
import torch
import torch.nn.functional as F
import transformers

from lantu.data.text.masking import masking_facts
from lantu.data.text.vocabulary import Bytes, Subwords
from lantu.errors import UserError
from lantu.models import MaskedTransformer
from lantu.tasks import MaskedLanguageModeling

BERT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
LINES = ["unhappiness is unhelpful, unhappily untold", "happy helpers tell unhappy tales"] * 3


def made(vocab_size=500, **options):
    net = MaskedTransformer(vocab_size, places=64, pad_id=0, config={"model_type": "bert", **BERT})
    options = {"mask_id": 2, "special_ids": [0, 1, 2], **options}
    return MaskedLanguageModeling(net, vocab_size=vocab_size, **options)


def pieces():
    return Subwords.of(LINES, level="wordpiece", size=45, min_count=1)


def test_the_wrapper_gives_transformers_own_logits_and_the_task_its_loss(tmp_path):
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=500, max_position_embeddings=64, **BERT)
    reference = transformers.BertForMaskedLM(config).eval()
    reference.save_pretrained(tmp_path)
    net = MaskedTransformer(500, places=64, pad_id=0, pretrained=str(tmp_path)).eval()
    task = MaskedLanguageModeling(net, vocab_size=500, mask_id=2, special_ids=[0, 1, 2])
    tokens = torch.randint(3, 500, (4, 20))
    tokens[1, 12:] = 0
    shown, asked = task.hide(tokens, stage="train")
    theirs = reference(input_ids=shown, attention_mask=(tokens != 0).long(), labels=asked)
    torch.testing.assert_close(net(shown)[0], theirs.logits[0])
    torch.testing.assert_close(task.loss(net(shown), asked, stage="train"), theirs.loss)


def test_shares_of_chosen_masked_replaced_and_kept_tokens_are_as_asked():
    torch.manual_seed(0)
    task = made()
    tokens = torch.randint(3, 500, (1000, 64))
    for stage in ("train", "val"):
        shown, asked = task.hide(tokens, stage=stage)
        chosen = asked != -100
        assert float(chosen.float().mean()) == pytest.approx(0.15, abs=0.005)
        assert torch.equal(shown[~chosen], tokens[~chosen])
        assert torch.equal(asked[chosen], tokens[chosen])
        shown, truth = shown[chosen], tokens[chosen]
        assert float((shown == 2).float().mean()) == pytest.approx(0.8, abs=0.015)
        assert float((shown == truth).float().mean()) == pytest.approx(0.1, abs=0.015)
        others = shown[(shown != 2) & (shown != truth)]
        assert others.min() >= 3
        assert len(others.unique()) > 380


def test_tokens_that_are_no_text_are_never_hidden_nor_shown():
    task = made(masked=0.9)
    tokens = torch.randint(0, 6, (200, 30))
    _, asked = task.hide(tokens, stage="train")
    assert not set(asked.unique().tolist()) & {0, 1, 2}
    shown, _ = task.hide(torch.full((200, 30), 7), stage="train")
    assert not ((shown == 0) | (shown == 1)).any()


def test_validation_asks_the_same_whatever_the_batch_and_training_does_not():
    task = made()
    tokens = torch.randint(3, 500, (8, 40))
    together = task.hide(tokens, stage="val")
    padded = F.pad(tokens[3:4], (0, 9))
    alone = task.hide(padded, stage="val")
    for whole, part in zip(together, alone, strict=True):
        assert torch.equal(whole[3], part[0, :40])
    assert not torch.equal(task.hide(tokens, stage="train")[1], task.hide(tokens, stage="train")[1])
    rows = task.hide(torch.full((1, 40), 9), stage="val")[1]
    other = task.hide(torch.full((1, 40), 10), stage="val")[1]
    assert not torch.equal(rows != -100, other != -100), "every row is asked at the same places"


@pytest.mark.parametrize("stage", ["train", "val"])
def test_whole_words_are_hidden_whole(stage):
    vocabulary = pieces()
    facts = masking_facts(vocabulary)
    task = made(vocabulary.size, whole_words=True, masked=0.3, **facts)
    encoding = vocabulary.tokenizer.encode(" ".join(LINES))
    assert len(encoding.ids) > len(set(encoding.word_ids)), "some words must have several pieces"
    tokens = torch.tensor([encoding.ids]).repeat(300, 1)
    tokens[:, 0] = torch.arange(300) % (vocabulary.size - 3) + 3  # rows that differ
    chosen = task.hide(tokens, stage=stage)[1] != -100
    words = torch.tensor(encoding.word_ids)
    for word in words.unique()[1:]:
        in_word = chosen[:, words == word]
        assert torch.equal(in_word.any(dim=1), in_word.all(dim=1)), word
    # validation has one choice per distinct row, and training the tokenizer varies from run to run
    tolerance = 0.03 if stage == "train" else 0.08
    assert float(chosen.float().mean()) == pytest.approx(0.3, abs=tolerance)


@pytest.mark.parametrize(
    ("level", "text", "begins"),
    [
        ("wordpiece", "unhappiness is", None),
        ("word", "happy helpers tell", [True, True, True]),
        ("bpe", "unhappily untold, happy", None),
    ],
)
def test_where_words_begin_is_known_of_every_level(level, text, begins):
    vocabulary = Subwords.of(LINES, level=level, size=300 if level == "bpe" else 45, min_count=1)
    facts = masking_facts(vocabulary)
    task = made(vocabulary.size, **facts)
    encoding = vocabulary.tokenizer.encode(text)
    words = encoding.word_ids
    expected = begins or [word != before for before, word in zip([None, *words], words, strict=False)]
    found = task.begins[torch.tensor(encoding.ids)].tolist()
    assert found[1:] == expected[1:]
    assert facts["mask_id"] in facts["special_ids"]


def test_bert_and_roberta_tokenizers_have_their_masks_found(tmp_path):
    from tokenizers import Tokenizer, models

    for name in ("[MASK]", "<mask>"):
        tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
        tokenizer.add_special_tokens([name])
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        facts = masking_facts(Subwords.loaded(str(tmp_path)))
        assert facts["mask_id"] == 3
        assert facts["special_ids"] == [3]


def test_loss_and_accuracy_are_means_over_the_chosen_tokens_alone():
    task = made()
    output = torch.randn(3, 5, 500)
    y = torch.full((3, 5), -100)
    y[0, 1], y[2, 4] = 17, 30
    output[0, 1, 17] = 99.0
    expected = torch.stack([F.cross_entropy(output[0, 1], y[0, 1]), F.cross_entropy(output[2, 4], y[2, 4])]).mean()
    torch.testing.assert_close(task.loss(output, y, stage="val"), expected)
    assert task.weight(y) == 2
    task.observe(task.metrics["val_"], output, y)
    assert task.metrics["val_"].compute()["val/accuracy"] == 0.5
    nothing = torch.full((3, 5), -100)
    assert task.loss(output, nothing, stage="train") == 0
    task.observe(task.metrics["val_"], output, nothing)
    assert task.metrics["val_"].compute()["val/accuracy"] == 0.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mask_id": None}, r"Type `data\.level=wordpiece`"),
        ({"masked": 0.0}, r"task\.masked=0"),
        ({"replaced": 0.7, "kept": 0.7}, "together at most 1"),
        ({"whole_words": True}, "where words begin"),
    ],
)
def test_a_mistake_is_a_sentence(options, said):
    with pytest.raises(UserError, match=said):
        made(**options)
    assert masking_facts(Bytes())["mask_id"] is None
