"""Low-rank adaptation: what is frozen, what is trained, and what is refused."""

import pytest
import torch
import transformers

import lantu.models
from lantu.config.combinations import WITHOUT_ATTENTION
from lantu.errors import UserError
from lantu.models import GPT, RNN, MaskedTransformer, ReadingTransformer, Transformer, lora

BERT = {"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 64}  # fmt: skip
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 16}


def classifier(config):
    return Transformer(40, 3, max_length=9, pad_id=0, config=config)


@pytest.mark.parametrize(
    ("config", "matrices"),
    [(BERT, 2 * 2 * (32 * 4 + 4 * 32)), (GPT2, 2 * (32 * 4 + 4 * 96))],
    ids=["bert", "gpt2"],
)
def test_only_the_matrices_and_the_new_head_are_trained(config, matrices):
    torch.manual_seed(0)
    net = classifier(config).eval()
    tokens = torch.randint(1, 40, (4, 9))
    before = net(tokens)
    base = {name: value.clone() for name, value in net.state_dict().items()}
    lora(net, rank=4)
    torch.testing.assert_close(net(tokens), before)  # the matrices begin by adding nothing
    head = sum(each.numel() for name, each in net.named_parameters() if each.requires_grad and "lora" not in name)
    trained = sum(each.numel() for each in net.parameters() if each.requires_grad)
    assert trained == matrices + head
    assert head in (3 * 32, 3 * 32 + 3)
    optimizer = torch.optim.SGD([each for each in net.parameters() if each.requires_grad], lr=0.5)
    for _ in range(2):
        net(tokens).square().sum().backward()
        optimizer.step()
    assert not torch.allclose(net(tokens), before)
    after = net.net.merge_and_unload()
    changed = {name for name, value in after.state_dict().items() if not torch.equal(value, base[f"net.{name}"])}
    assert changed
    assert all(any(part in name for part in ("query", "value", "c_attn", "classifier", "score")) for name in changed)


def test_merged_weights_answer_as_the_adapted_network():
    torch.manual_seed(0)
    net = MaskedTransformer(40, places=9, pad_id=0, config=BERT).eval()
    lora(net)
    for name, weight in net.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    tokens = torch.randint(1, 40, (2, 9))
    answer = net(tokens)
    net.net = net.net.merge_and_unload()
    assert isinstance(net.net, transformers.BertForMaskedLM)
    torch.testing.assert_close(net(tokens), answer, atol=1e-4, rtol=1e-4)


def test_of_a_question_answerer_the_new_ends_are_trained_whole():
    torch.manual_seed(0)
    net = ReadingTransformer(40, max_length=9, pad_id=0, config=BERT).eval()
    tokens = torch.randint(1, 40, (4, 9))
    x = torch.stack([tokens, torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 3]]).expand(4, 9)], dim=1)
    before = net(x)
    lora(net, rank=4)
    torch.testing.assert_close(net(x), before)
    trained = {name: each for name, each in net.named_parameters() if each.requires_grad}
    whole = {name for name in trained if "lora" not in name}
    assert {name.rpartition("qa_outputs")[1] for name in whole} == {"qa_outputs"}
    assert sum(each.numel() for each in trained.values()) == 2 * 2 * (32 * 4 + 4 * 32) + 2 * 32 + 2
    frozen = {name: each.detach().clone() for name, each in net.named_parameters() if name not in trained}
    optimizer = torch.optim.SGD(trained.values(), lr=0.5)
    for _ in range(2):
        net(x)[:, :, 3:8].square().sum().backward()
        optimizer.step()
    assert not torch.allclose(net(x), before)
    assert all(torch.equal(each, frozen[name]) for name, each in net.named_parameters() if name in frozen)
    after = net(x)
    net.net = net.net.merge_and_unload()
    torch.testing.assert_close(net(x), after, atol=1e-4, rtol=1e-4)


def test_a_gpt_is_adapted_in_its_attention():
    net = GPT(40, 8, width=32, layers=2)
    lora(net, rank=4)
    trained = {name: each for name, each in net.named_parameters() if each.requires_grad}
    assert {name.partition(".lora")[0] for name in trained} == {f"blocks.{layer}.attention.qkv" for layer in (0, 1)}
    assert sum(each.numel() for each in trained.values()) == 2 * (32 * 4 + 4 * 96)


def test_a_network_of_our_own_is_adapted_where_its_layers_are_named():
    net = RNN(40, 3, pad_id=0)
    with pytest.raises(UserError, match=r"RNN is none: name the layers with `peft\.target_modules"):
        lora(net)
    with pytest.raises(UserError, match="has no such layers"):
        lora(net, target_modules=["nothing"])
    lora(net, target_modules=["head"])
    trained = {name for name, each in net.named_parameters() if each.requires_grad}
    assert trained
    assert all("lora" in name for name in trained)


def test_networks_that_are_refused_before_they_are_built_list_no_layers_themselves():
    assert {name for name in WITHOUT_ATTENTION if getattr(getattr(lantu.models, name), "adapted", None)} == set()


def test_ranks_below_one_are_refused():
    with pytest.raises(UserError, match=r"peft\.rank=0"):
        lora(classifier(BERT), rank=0)
