"""Documents packed into rows without padding, and kept apart: the loss is that of each document by itself."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import lantu
from lantu.data import TokenDataModule
from lantu.models import GPT
from lantu.models.generate import generate

DOCUMENTS = ["to be", "or not to be that is", "x", "the question</s>", "whether 'tis nobler\n"]
FORMS = {
    "GPT-2": {"positions": "learned", "norm": "layer", "mlp": "gelu", "bias": True},
    "today's": {},
    "grouped queries": {"kv_heads": 2, "qk_norm": True, "mlp": "relu2", "tied": False},
}
EVERY_FORM = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def packed(folder: Path, **options: str) -> TokenDataModule:
    for number, document in enumerate(DOCUMENTS):
        (folder / f"{number}.txt").write_text(document)
    made = TokenDataModule(
        path=str(folder), cache=str(folder / "cache"), split={"val": 0.0, "test": 0.0}, vocab_size=300, context=8,
        **{"documents": "apart", **options},
    )  # fmt: skip
    made.setup("fit")
    return made


def network(form: dict, made: TokenDataModule, *, boundary_id: int | None, context: int = 128) -> GPT:
    torch.manual_seed(0)
    net = GPT(made.spec["vocab_size"], context, width=32, layers=2, heads=4, boundary_id=boundary_id, **form)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(5).add_(torch.randn_like(parameter) * 0.1)
    return net.eval()


def losses(net: GPT, tokens: Tensor) -> Tensor:
    """Of each token but the first, in nats."""
    return cross_entropy(net(tokens[None, :-1])[0], tokens[1:], reduction="none")


@pytest.mark.parametrize("level", ["char", "byte", "bpe"])
def test_a_token_stands_before_every_document_and_after_the_last(tmp_path: Path, level: str) -> None:
    made = packed(tmp_path, level=level)
    end = made.spec["end_id"]
    tokens = made.splits["train"].tokens.tolist()  # type: ignore[attr-defined]
    places = [place for place, token in enumerate(tokens) if token == end]
    assert (places[0], places[-1]) == (0, len(tokens) - 1)
    parts = [tokens[begin + 1 : until] for begin, until in pairwise(places)]
    assert [made.decode(part) for part in parts] == DOCUMENTS  # the "</s>" of a text is text


@EVERY_FORM
def test_the_packed_loss_and_its_gradient_are_those_of_the_documents_by_themselves(tmp_path: Path, form: dict) -> None:
    made = packed(tmp_path)
    end = made.spec["boundary_id"]
    tokens = torch.tensor(made.splits["train"].tokens.astype(int))  # type: ignore[attr-defined]
    net = network(form, made, boundary_id=end)
    alone = [torch.tensor([end, *made.encode(document).tolist(), end]) for document in DOCUMENTS]
    plain = network(form, made, boundary_id=None)
    own = torch.cat([losses(plain, each) for each in alone])
    together = losses(net, tokens)
    torch.testing.assert_close(together, own, atol=2e-4, rtol=1e-4)
    assert not torch.allclose(losses(plain, tokens), own, atol=1e-2)
    together.sum().backward()
    own.sum().backward()
    for (name, mine), its in zip(net.named_parameters(), plain.parameters(), strict=True):
        assert (mine.grad - its.grad).norm() < 1e-4 * its.grad.norm(), name  # of float32 sums in another order


@EVERY_FORM
def test_nothing_of_another_document_reaches_a_token_not_even_through_the_cache(tmp_path: Path, form: dict) -> None:
    made = packed(tmp_path)
    end = made.spec["boundary_id"]
    net = network(form, made, boundary_id=end, context=24)
    rows = torch.randint(end, (3, 12))
    rows[0, 5] = rows[1, 0] = rows[1, 8] = rows[2, 11] = end
    changed = rows.clone()
    changed[0, :5] = (changed[0, :5] + 1) % end
    torch.testing.assert_close(net(changed)[0, 5:], net(rows)[0, 5:])
    cache = net.new_cache()
    parts = torch.cat([net(part, cache) for part in rows.split([3, 1, 4, 1, 3], dim=1)], dim=1)
    torch.testing.assert_close(parts, net(rows), atol=2e-4, rtol=1e-4)
    texts = [
        torch.stack(list(generate(net, rows, new_tokens=20, temperature=0, use_cache=use))) for use in (True, False)
    ]
    assert torch.equal(*texts)


def test_documents_train_marked_or_apart_and_a_network_that_sees_across_is_refused_in_a_sentence(
    own_data: dict[str, list[str]], train_shortly: Callable[..., lantu.Result]
) -> None:
    options = ("data=text_files", *own_data["text_files"], "save_model=false")
    apart = train_shortly(*options, "model=gpt", "model.width=32", "data.documents=apart")
    assert apart.module.net.boundary_id == apart.cfg.spec.end_id is not None  # type: ignore[union-attr]
    marked = train_shortly(*options, "model=lstm", "data.documents=marked")
    assert marked.module.end_id == apart.cfg.spec.end_id
    assert marked.cfg.spec.boundary_id is None
    with pytest.raises(lantu.UserError, match=r"`data.documents=apart` is for networks .*RNN does: choose `model=gpt`"):
        train_shortly(*options, "model=lstm", "data.documents=apart")


def test_a_tokenizer_without_a_token_for_ends_is_refused_in_a_sentence(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"a": 0, "?": 1}, unk_token="?")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(lantu.UserError, match=r"has none for it\. Type `data\.documents=joined`"):
        packed(tmp_path, tokenizer=str(tmp_path / "tokenizer.json"))
    with pytest.raises(lantu.UserError, match="documents are joined, marked, apart"):
        packed(tmp_path, documents="together")
