"""How fast language models write, with and without what they remember of the text so far.

Run: python scripts/bench/generate.py [--tokens 256] [--sequences 1 8] [--device cpu] [--transformers]
With a cache (GPT) or carried state (recurrent networks) every token is read once; without, the whole text is read again
for each token. The weights are random, which changes no speed. Both ways take turns on the same prompt.
`--transformers` compares with transformers' `generate` on a GPT-2 of the same form instead.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from lantu.models import GPT, RNN
from lantu.models.generate import generate

GPT2 = {"positions": "learned", "norm": "layer", "mlp": "gelu", "bias": True}
NETS: dict[str, Callable[[int], nn.Module]] = {
    "GPT, 4 layers, 128 wide": lambda context: GPT(65, context),
    "GPT, 6 layers, 384 wide": lambda context: GPT(65, context, layers=6, heads=6, width=384),
    "LSTM, 256 wide": lambda context: RNN(65, 65, hidden=256, per_token=True),
}
LARGE: dict[str, Callable[[int], nn.Module]] = {
    "GPT-2, 124 million": lambda context: GPT(50257, context, layers=12, heads=12, width=768, **GPT2),  # type: ignore[arg-type]
}


def tokens_per_second(net: nn.Module, sequences: int, tokens: int, *, use_cache: bool) -> float:
    """Tokens drawn in a second, of all sequences together."""
    device = next(net.parameters()).device
    prompt = torch.zeros(sequences, 1, dtype=torch.long, device=device)
    start = time.perf_counter()
    for drawn in generate(net, prompt, new_tokens=tokens, use_cache=use_cache):
        last = drawn
    last.tolist()  # waits for the device
    return sequences * tokens / (time.perf_counter() - start)


def beside_transformers(options: argparse.Namespace) -> None:
    """Print tokens a second of ours and of transformers', and the median ratio of turns."""
    from transformers import GPT2Config, GPT2LMHeadModel

    for layers, width, heads, vocabulary in ((4, 128, 4, 65), (6, 384, 6, 65), (12, 768, 12, 50257)):
        size = {"n_positions": options.tokens + 1, "n_embd": width, "n_layer": layers, "n_head": heads}
        theirs = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, bos_token_id=0, eos_token_id=0, **size))
        net = GPT(vocabulary, options.tokens + 1, width=width, layers=layers, heads=heads, **GPT2)  # type: ignore[arg-type]
        net, theirs = net.to(options.device).eval(), theirs.to(options.device).eval()
        for sequences in options.sequences:
            prompt = torch.zeros(sequences, 1, dtype=torch.long, device=options.device)
            exactly = {"max_new_tokens": options.tokens, "min_new_tokens": options.tokens, "pad_token_id": 0}
            rates: list[tuple[float, float]] = []
            for _ in range(options.turns + 1):  # the first warms up
                ours = tokens_per_second(net, sequences, options.tokens, use_cache=True)
                start = time.perf_counter()
                theirs.generate(
                    prompt, attention_mask=torch.ones_like(prompt), do_sample=True, top_k=0, **exactly
                ).tolist()
                rates.append((ours, sequences * options.tokens / (time.perf_counter() - start)))
            ratio = statistics.median(one / other for one, other in rates[1:])
            mine, other = (statistics.median(each) for each in zip(*rates[1:], strict=True))
            print(
                f"{layers} layers, {width} wide, {sequences} at once: {mine:,.0f} tokens/s, "
                f"transformers {other:,.0f}, ratio {ratio:.2f}"
            )


def main() -> None:
    """Time every network and print tokens per second and the ratio."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=255, help="that follow a prompt of one; the context fits them")
    parser.add_argument("--sequences", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--large", action="store_true", help="also GPT-2's size")
    parser.add_argument("--transformers", action="store_true", help="compare with transformers' generate")
    options = parser.parse_args()
    if options.transformers:
        return beside_transformers(options)
    title = f"{options.tokens} tokens, {options.device}, {torch.get_num_threads()} threads"
    table = Table("network", "sequences", "tokens/s, cached", "without", "ratio", title=title)
    for name, make in (NETS | (LARGE if options.large else {})).items():
        net = make(options.tokens + 1).to(options.device).eval()
        for sequences in options.sequences:
            rates: dict[bool, list[float]] = {True: [], False: []}
            for use_cache in (True, False):
                tokens_per_second(net, sequences, 8, use_cache=use_cache)
            for _ in range(options.turns):
                for use_cache, kept in rates.items():
                    kept.append(tokens_per_second(net, sequences, options.tokens, use_cache=use_cache))
            cached, without = (statistics.median(rates[use_cache]) for use_cache in (True, False))
            table.add_row(name, str(sequences), f"{cached:,.0f}", f"{without:,.0f}", f"{cached / without:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
