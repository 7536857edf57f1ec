"""Training speed of our GPT beside a plain nanoGPT, at nanoGPT's settings for a CPU.

Run: python scripts/bench/gpt.py [--seconds 10]
Both take whole steps (forward, backward, clipping, AdamW) on the same random tokens, in turns of a few steps each, so
that a busy machine slows all of them alike. The reference is written as nanoGPT writes its model and its step.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.models import GPT
from lantu.optim import parameter_groups

VOCABULARY, CONTEXT, BATCH, WIDTH, LAYERS, HEADS = 65, 64, 12, 128, 4, 4
TURN = 10  # steps


class NanoBlock(nn.Module):
    """nanoGPT's block, with its order of operations."""

    def __init__(self) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.c_attn = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.c_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.c_fc = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.gelu = nn.GELU()
        self.c_out = nn.Linear(4 * WIDTH, WIDTH, bias=False)
        self.dropout = nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).split(d, dim=2)
        q, k, v = (part.view(n, t, HEADS, d // HEADS).transpose(1, 2) for part in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=True)
        x = x + self.dropout(self.c_proj(y.transpose(1, 2).contiguous().view(n, t, d)))
        return x + self.dropout(self.c_out(self.gelu(self.c_fc(self.ln_2(x)))))


class Nano(nn.Module):
    """nanoGPT's model: GPT-2 without biases."""

    def __init__(self) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.drop = nn.Dropout(0.0)
        self.h = nn.ModuleList([NanoBlock() for _ in range(LAYERS)])
        self.ln_f = nn.LayerNorm(WIDTH, bias=False)
        self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.drop(self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1])))
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x))


def step(
    net: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    *,
    bf16: bool,
    foreach: bool,
) -> None:
    """One step, as nanoGPT takes it; the loss is read at every step."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = net(x)
    loss = F.cross_entropy(logits.float().view(-1, logits.shape[-1]), y.view(-1))
    loss.backward()
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    nn.utils.clip_grad_norm_(weights, 1.0, foreach=foreach)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    loss.item()


def candidate(net: nn.Module, *, fused: bool = True, bf16: bool = False, compiled: bool = False) -> Callable[..., None]:
    """A network with its optimizer, ready to take steps."""
    optimizer = torch.optim.AdamW(parameter_groups(net), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=fused)
    return partial(step, torch.compile(net) if compiled else net, optimizer, bf16=bf16, foreach=fused)


def main() -> None:
    """Time every candidate and print medians and ratios."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="for each candidate")
    parser.add_argument("--compile", action="store_true", help="also compiled, which takes about a minute at first")
    options = parser.parse_args()
    ours = partial(GPT, VOCABULARY, CONTEXT, width=WIDTH, layers=LAYERS, heads=HEADS)
    gpt2 = partial(ours, positions="learned", norm="layer", mlp="gelu")
    candidates = {
        "nanoGPT": candidate(Nano(), fused=False),
        "nanoGPT, fused AdamW": candidate(Nano()),
        "ours, GPT-2": candidate(gpt2()),
        "ours, today's": candidate(ours()),
        "nanoGPT, bf16": candidate(Nano(), fused=False, bf16=True),
        "ours, GPT-2, bf16": candidate(gpt2(), bf16=True),
        "ours, GPT-2 with relu2, bf16": candidate(gpt2(mlp="relu2"), bf16=True),
        "ours, today's, bf16": candidate(ours(), bf16=True),
    }
    if options.compile:
        candidates["nanoGPT, compiled"] = candidate(Nano(), fused=False, compiled=True)
        candidates["nanoGPT, bf16, compiled"] = candidate(Nano(), fused=False, bf16=True, compiled=True)
        candidates["ours, today's, bf16, compiled"] = candidate(ours(), bf16=True, compiled=True)
    tokens = torch.randint(VOCABULARY, (BATCH, CONTEXT + 1))
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for take_step in candidates.values():
        take_step(x, y)
    end = time.perf_counter() + options.seconds * len(candidates)
    while time.perf_counter() < end:
        for name, take_step in candidates.items():
            take_step(x, y)  # the caches are the last candidate's
            start = time.perf_counter()
            for _ in range(TURN):
                take_step(x, y)
            seconds[name].append((time.perf_counter() - start) / TURN)
    reference = statistics.median(seconds["nanoGPT"])
    title = f"{LAYERS} layers, {WIDTH} wide, {BATCH} of {CONTEXT} tokens, {torch.get_num_threads()} threads"
    table = Table("network", "ms a step", "fastest", "tokens/s", "speed-up", title=title)
    for name, times in seconds.items():
        median = statistics.median(times)
        rate, faster = f"{BATCH * CONTEXT / median:,.0f}", f"{reference / median:.2f}"
        table.add_row(name, f"{1e3 * median:.1f}", f"{1e3 * min(times):.1f}", rate, faster)
    Console().print(table)


if __name__ == "__main__":
    main()
