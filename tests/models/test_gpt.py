"""GPT against transformers' GPT-2 and LLaMA, and what a causal network and its cache promise."""

import json
from math import log

import pytest
import torch
import transformers
from safetensors.torch import save_file

from lantu.errors import UserError
from lantu.models import GPT, gpt2

FORMS = {
    "GPT-2": {"positions": "learned", "norm": "layer", "mlp": "gelu", "bias": True},
    "LLaMA": {},
    "grouped queries": {"kv_heads": 2, "qk_norm": True, "mlp": "relu2", "tied": False},
    "one key": {"kv_heads": 1, "bias": True, "hidden": 48},
}
EVERY_FORM = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def small(form, context=16, **options):
    torch.manual_seed(0)
    net = GPT(50, context, **{"width": 32, "layers": 2, "heads": 4, **form, **options})
    with torch.no_grad():  # larger than at the start of a training, so that attention is far from uniform
        for parameter in net.parameters():
            parameter.mul_(5).add_(torch.randn_like(parameter) * 0.1)
    return net.eval()


@pytest.fixture
def published(tmp_path):
    """A folder as transformers publishes GPT-2, with random weights."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=16, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3
    )
    reference = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if name.endswith("bias") or ".ln_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    reference.save_pretrained(tmp_path)
    return tmp_path, reference


def test_published_gpt2_weights_give_transformers_logits(published):
    folder, reference = published
    tokens = torch.randint(50, (3, 16))
    net = gpt2(str(folder), vocab_size=50).eval()
    torch.testing.assert_close(net(tokens), reference(tokens).logits, atol=1e-5, rtol=1e-4)
    assert net.head.weight is net.embedding.weight


@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_gpt2_weights_load_in_both_published_layouts_and_with_masks(published, prefix):
    """The hub's gpt2 has no prefix and keeps its causal masks; old files are pickled."""
    folder, reference = published
    (folder / "model.safetensors").unlink()
    weights = {prefix + name: weight for name, weight in reference.transformer.state_dict().items()}
    weights[f"{prefix}h.0.attn.bias"] = torch.ones(1, 1, 16, 16).tril()
    weights[f"{prefix}h.0.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(weights, folder / "pytorch_model.bin")
    tokens = torch.randint(50, (3, 7))
    net = gpt2(str(folder), context=8).eval()
    torch.testing.assert_close(net(tokens), reference(tokens).logits, atol=1e-5, rtol=1e-4)


def test_gpt2_folders_that_do_not_fit_are_refused(published, tmp_path_factory):
    folder, _ = published
    with pytest.raises(UserError, match="60 different tokens"):
        gpt2(str(folder), vocab_size=60)
    with pytest.raises(UserError, match=r"data\.context=32.*16 positions"):
        gpt2(str(folder), context=32)
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(UserError, match=r"model\.folder"):
        gpt2(str(empty))
    (empty / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="bert"):
        gpt2(str(empty))
    (empty / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(UserError, match="neither"):
        gpt2(str(empty))


def test_a_pickled_file_that_would_run_code_is_refused(published):
    folder, _ = published
    (folder / "model.safetensors").unlink()
    torch.save({"wte.weight": print}, folder / "pytorch_model.bin")
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        gpt2(str(folder))


def test_the_same_weights_give_transformers_llamas_logits():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16, rms_norm_eps=1e-5, initializer_range=0.3,
        tie_word_embeddings=False, rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    )  # fmt: skip
    reference = transformers.LlamaForCausalLM(config).eval()
    net = GPT(50, 16, width=32, layers=2, heads=4, kv_heads=2, hidden=96, tied=False, rope_base=500.0).eval()
    theirs, ours = reference.state_dict(), {"embedding.weight": "embed_tokens", "norm.weight": "norm"}
    ours = {name: theirs[f"model.{other}.weight"] for name, other in ours.items()} | {
        "head.weight": theirs["lm_head.weight"]
    }
    for layer in range(2):
        their = {name: theirs[f"model.layers.{layer}.{name}.weight"] for name in _LLAMA}
        qkv = (*(_neighbours(their[f"self_attn.{part}_proj"], 8) for part in "qk"), their["self_attn.v_proj"])
        ours |= {
            f"blocks.{layer}.attention.qkv.weight": torch.cat(qkv),
            f"blocks.{layer}.attention.out.weight": their["self_attn.o_proj"],
            f"blocks.{layer}.mlp.up.weight": torch.cat((their["mlp.gate_proj"], their["mlp.up_proj"])),
            f"blocks.{layer}.mlp.out.weight": their["mlp.down_proj"],
            f"blocks.{layer}.attention_norm.weight": their["input_layernorm"],
            f"blocks.{layer}.mlp_norm.weight": their["post_attention_layernorm"],
        }
    net.load_state_dict(ours)
    tokens = torch.randint(50, (3, 16))
    torch.testing.assert_close(net(tokens), reference(tokens).logits, atol=1e-5, rtol=1e-4)


_LLAMA = (
    *(f"self_attn.{part}_proj" for part in "qkvo"),
    *(f"mlp.{part}_proj" for part in ("gate", "up", "down")),
    "input_layernorm",
    "post_attention_layernorm",
)


def _neighbours(weight, head_width):
    """transformers keeps the first numbers of a head's pairs before the second ones; here they are neighbours."""
    return weight.unflatten(0, (-1, 2, head_width // 2)).transpose(1, 2).reshape(weight.shape)


@EVERY_FORM
def test_no_token_sees_those_after_it(form):
    net = small(form)
    tokens = torch.randint(50, (2, 12))
    changed = tokens.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % 50
    before, after = net(tokens), net(changed)
    assert before.shape == (2, 12, 50)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert not torch.allclose(before[:, 7:], after[:, 7:])


@EVERY_FORM
def test_every_token_sees_all_before_it(form):
    net = small(form)
    tokens = torch.randint(50, (1, 6))
    last = net(tokens)[:, -1]
    for place in range(6):
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] + 1) % 50
        assert not torch.allclose(net(changed)[:, -1], last, atol=1e-4)


@EVERY_FORM
@pytest.mark.parametrize("parts", [[1] * 12, [5, 1, 1, 5], [3, 4, 5], [12]])
def test_the_cache_gives_the_logits_of_reading_everything_again(form, parts):
    net = small(form)
    tokens, cache = torch.randint(50, (2, 12)), net.new_cache()
    found = torch.cat([net(part, cache) for part in tokens.split(parts, dim=1)], dim=1)
    torch.testing.assert_close(found, net(tokens), atol=2e-4, rtol=1e-4)  # of logits up to 13
    assert cache.length == 12


def test_rotations_depend_on_distance_alone():
    net = small({}, layers=1)
    attention = net.blocks[0].attention
    x = torch.randn(1, 4, 32)
    near = attention(x, net.rope_SP2[0:4], None)
    far = attention(x, net.rope_SP2[9:13], None)
    torch.testing.assert_close(near, far, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(near, attention(x, net.rope_SP2[0:8:2], None), atol=1e-4)


@EVERY_FORM
def test_gradient_reaches_every_parameter(form):
    net = small(form).train()
    net(torch.randint(50, (8, 16))).square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@EVERY_FORM
def test_a_new_network_predicts_almost_evenly(form):
    torch.manual_seed(0)
    net = GPT(50, 16, width=32, layers=2, heads=4, **form)
    tokens = torch.randint(50, (8, 17))
    loss = torch.nn.functional.cross_entropy(net(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
    assert loss.item() == pytest.approx(log(50), abs=0.1)


@EVERY_FORM
def test_bf16_autocast_stays_close_to_float32(form):
    torch.manual_seed(0)
    net = GPT(50, 16, width=32, layers=2, heads=4, **form)
    tokens = torch.randint(50, (4, 16))
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(tokens).float()
    assert (rough - net(tokens)).abs().max() < 0.02


def test_dropout_acts_in_training_alone():
    net = small(FORMS["GPT-2"], dropout=0.5)
    tokens = torch.randint(50, (2, 8))
    assert torch.equal(net(tokens), net(tokens))
    net.train()
    assert not torch.equal(net(tokens), net(tokens))


def test_tied_networks_hold_one_matrix_and_untied_ones_two():
    tied, untied = small({}), small({}, tied=False)
    assert tied.head.weight is tied.embedding.weight
    extra = sum(p.numel() for p in untied.parameters()) - sum(p.numel() for p in tied.parameters())
    assert extra == 50 * 32


def test_gpt2_has_its_124_million_weights():
    with torch.device("meta"):
        net = GPT(50257, 1024, width=768, layers=12, heads=12, **FORMS["GPT-2"])
    assert sum(parameter.numel() for parameter in net.parameters()) == 124_439_808


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"positions": "rotary"}, r"model\.positions=rotary.*rope or learned"),
        ({"norm": "batch"}, r"model\.norm=batch"),
        ({"mlp": "relu"}, r"model\.mlp=relu.*swiglu.*gelu.*relu2"),
        ({"width": 30}, r"model\.width=30.*model\.heads=4"),
        ({"kv_heads": 3}, r"model\.kv_heads=3.*model\.heads=4"),
        ({"width": 36, "heads": 4}, r"model\.positions=rope.*9 wide"),
        ({"dropout": 1.0}, r"model\.dropout"),
    ],
)
def test_wrong_options_are_refused_in_a_sentence(options, sentence):
    with pytest.raises(UserError, match=sentence):
        GPT(50, 16, **{"width": 32, "layers": 1, "heads": 4, **options})


def test_more_tokens_than_the_context_are_refused():
    net = small({})
    with pytest.raises(UserError, match=r"model\.context=16.*17 tokens"):
        net(torch.zeros(1, 17, dtype=torch.long))


def test_safetensors_written_by_others_are_read(published):
    folder, reference = published
    save_file(
        {name: w.contiguous() for name, w in reference.transformer.state_dict().items()}, folder / "model.safetensors"
    )
    tokens = torch.randint(50, (1, 5))
    torch.testing.assert_close(gpt2(str(folder)).eval()(tokens), reference(tokens).logits, atol=1e-5, rtol=1e-4)
