"""Tokens a second that a GPT-2 writes with its cache, beside transformers' `generate` on a network of the same form."""

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import torch

from lantu.models import GPT
from lantu.models.generate import generate
from scripts.bench.gpu_parts.common import Row, median_seconds, on_gpu, part


def measure(asked: argparse.Namespace) -> Iterator[Row]:
    """One text, and 32 at once."""
    from transformers import GPT2Config, GPT2LMHeadModel

    device, dtype = ("cuda", torch.bfloat16) if on_gpu() else ("cpu", torch.float32)
    layers, width, vocabulary, new = (2, 32, 64, 8) if asked.tiny else (12, 768, 50304, 192)
    heads = 4 if asked.tiny else 12
    form = {"positions": "learned", "norm": "layer", "mlp": "gelu", "bias": True}
    mine = GPT(vocabulary, 256, width=width, layers=layers, heads=heads, **form).to(device, dtype).eval()  # type: ignore[arg-type]
    config = GPT2Config(vocab_size=vocabulary, n_positions=256, n_embd=width, n_layer=layers, n_head=heads)
    theirs = GPT2LMHeadModel(config).to(device, dtype).eval()
    for texts in (1, 2 if asked.tiny else 32):
        prompt = torch.zeros(texts, 1, dtype=torch.long, device=device)
        ways: dict[str, Callable[[], object]] = {
            "ours": partial(_ours, mine, prompt, new),
            "transformers": partial(
                theirs.generate, prompt, max_new_tokens=new, min_new_tokens=new, do_sample=True, top_k=0,
                pad_token_id=0,
                attention_mask=torch.ones_like(prompt),
            ),
        }  # fmt: skip
        for name, write in ways.items():
            seconds = median_seconds(write, repeats=1)
            yield {"network": name, "texts at once": texts, "tokens/s": texts * new / seconds}


def _ours(net: GPT, prompt: torch.Tensor, new: int) -> None:
    for _ in generate(net, prompt, new_tokens=new):
        pass


if __name__ == "__main__":
    part(measure)
