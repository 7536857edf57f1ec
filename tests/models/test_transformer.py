"""Sequence classifiers of the transformers library."""

import pytest
import torch
import transformers

from lantu.errors import UserError
from lantu.models import Transformer

BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
DISTILBERT = {"model_type": "distilbert", "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
ROBERTA = {**BERT, "model_type": "roberta"}


@pytest.mark.parametrize("config", [BERT, DISTILBERT, ROBERTA], ids=lambda config: config["model_type"])
def test_padding_does_not_change_the_answer(config):
    torch.manual_seed(0)
    net = Transformer(40, 5, max_length=9, pad_id=0, config=config).eval()
    tokens = torch.randint(1, 40, (3, 9))
    tokens[1, 4:] = 0
    tokens[2, 1:] = 0
    together = net(tokens)
    assert together.shape == (3, 5)
    for row, answer in zip(tokens, together, strict=True):
        torch.testing.assert_close(net(row[row > 0][None])[0], answer, atol=1e-5, rtol=1e-4)


def test_a_text_of_padding_alone_gets_a_finite_answer():
    net = Transformer(40, 5, max_length=9, pad_id=0, config=BERT).eval()
    assert net(torch.zeros(2, 4, dtype=torch.long)).isfinite().all()


@pytest.mark.parametrize("config", [BERT, DISTILBERT, ROBERTA], ids=lambda config: config["model_type"])
def test_gradient_reaches_the_weights(config):
    net = Transformer(40, 5, max_length=9, pad_id=0, config=config)
    net(torch.randint(1, 40, (8, 9))).square().sum().backward()
    without = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not [name for name in without if "token_type" not in name]


def test_published_weights_are_loaded_from_a_folder_and_checked_against_the_data(tmp_path):
    torch.manual_seed(0)
    options = {key: value for key, value in BERT.items() if key != "model_type"}
    config = transformers.BertConfig(vocab_size=40, max_position_embeddings=9, num_labels=3, **options)
    reference = transformers.BertForSequenceClassification(config).eval()
    reference.save_pretrained(tmp_path)
    net = Transformer(40, 3, max_length=9, pad_id=0, pretrained=str(tmp_path))
    assert all(module.training for module in net.modules()), "dropout would be off in fine-tuning"
    net.eval()
    tokens = torch.randint(1, 40, (2, 9))
    torch.testing.assert_close(net(tokens), reference(tokens).logits)
    with pytest.raises(UserError, match=r"knows 40 tokens and the data have 41"):
        Transformer(41, 3, max_length=9, pad_id=0, pretrained=str(tmp_path))
    with pytest.raises(UserError, match=r"padded with token 0 and the data with 3"):
        Transformer(40, 3, max_length=9, pad_id=3, pretrained=str(tmp_path))
    with pytest.raises(UserError, match=r"has 9 places.*takes 10.*data\.max_length=9"):
        Transformer(40, 3, max_length=10, pad_id=0, pretrained=str(tmp_path))


def test_places_that_a_network_never_uses_are_not_offered(tmp_path):
    options = {key: value for key, value in BERT.items() if key != "model_type"}
    config = transformers.RobertaConfig(
        vocab_size=40, max_position_embeddings=9, pad_token_id=1, num_labels=3, **options
    )
    transformers.RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"has 7 places.*takes 8.*data\.max_length=7"):
        Transformer(40, 3, max_length=8, pad_id=None, pretrained=str(tmp_path))
    net = Transformer(40, 3, max_length=7, pad_id=None, pretrained=str(tmp_path))
    assert net(torch.randint(2, 40, (2, 7))).shape == (2, 3)


def test_a_type_that_transformers_lacks_is_refused():
    with pytest.raises(UserError, match=r"model\.config\.model_type=birt"):
        Transformer(40, 3, max_length=9, pad_id=0, config={"model_type": "birt"})
