"""Generate with a WaveNet, sample by sample, with queues of what each layer has computed (Le Paine et al. 2016).

A sample costs one column of each layer instead of a pass over all samples before it. With the package numba the whole
step is one compiled loop over the weights; without it the same is done by torch, slower for one recording and efficient
for many at once. Both give the samples of the naive way, which a test compares.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lantu.models.wavenet import CLASSES, SILENCE, WaveNet


@torch.inference_mode()
def generate(
    net: WaveNet, cond: Tensor | None, uniform: Tensor, *, temperature: float = 1.0, fused: bool | None = None
) -> Tensor:
    """Draw N recordings.

    Args:
        cond: as `WaveNet.conditioning` gives it: (F, N, layers, 2 × channels), each for `hop` samples; or None.
        uniform: numbers in [0, 1) (N, T) that the samples are drawn with.
        temperature: below 1 is careful; 0 always takes the likeliest value.
        fused: use numba's compiled step; None: where it is installed and the network is on the CPU.

    Returns:
        mu-law codes (N, T).
    """
    step = _fused if _is_fused(net, fused) else _stepwise
    return step(net, cond, uniform, temperature, None)[0]


@torch.inference_mode()
def cached_logits(net: WaveNet, cond: Tensor | None, codes: Tensor, *, fused: bool | None = None) -> Tensor:
    """Scores (N, T, 256) of every sample of N known recordings (N, T), computed as in generation."""
    step = _fused if _is_fused(net, fused) else _stepwise
    return step(net, cond, torch.zeros(codes.shape), 1.0, codes)[1]


def _is_fused(net: WaveNet, fused: bool | None) -> bool:
    if fused is None:
        return next(net.parameters()).device.type == "cpu" and find_spec("numba") is not None
    return fused


def _stepwise(
    net: WaveNet, cond: Tensor | None, uniform: Tensor, temperature: float, known: Tensor | None
) -> tuple[Tensor, Tensor]:
    """All recordings together, a sample at a time, by torch."""
    device = next(net.parameters()).device
    count, samples = uniform.shape
    queues = [torch.zeros(each, count, net.channels, device=device) for each in net.dilations]
    before = torch.full((count,), SILENCE, device=device)
    uniform = uniform.to(device)
    codes, scores = [], []
    for time in range(samples):
        x, gated = net.embed(before), []
        here = None if cond is None else cond[min(time // net.hop, len(cond) - 1)]
        for number, (layer, queue) in enumerate(zip(net.layers, queues, strict=True)):
            slot = time % len(queue)
            a = layer.now(x) + layer.past(queue[slot])  # type: ignore[operator]
            queue[slot] = x
            if here is not None:
                a = a + here[:, number]
            z = torch.tanh(a[:, : net.channels]) * torch.sigmoid(a[:, net.channels :])
            gated.append(z)
            x = x + layer.out(z)  # type: ignore[operator]
        outputs = net.head(torch.relu(net.hidden(torch.relu(net.skip(torch.cat(gated, dim=-1))))))
        logits = net.scores(outputs)
        if known is None:
            before = _drawn(logits, uniform[:, time], temperature)
        else:
            before = known[:, time].to(device)
            scores.append(logits)
        codes.append(before)
    return torch.stack(codes, dim=1), torch.stack(scores, dim=1) if scores else torch.zeros(0)


def _drawn(logits: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    cumulative = (logits.double() / temperature).softmax(-1).cumsum(-1)
    return (cumulative <= uniform[:, None].double()).sum(-1).clamp(max=CLASSES - 1)


def _fused(
    net: WaveNet, cond: Tensor | None, uniform: Tensor, temperature: float, known: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One recording after the other, by numba."""
    weights, run = _weights(net), _compiled()
    count, samples = uniform.shape
    layers = len(net.dilations)
    codes = np.zeros((count, samples), dtype=np.int64) if known is None else known.cpu().numpy().copy()
    scores = np.zeros((count, samples if known is not None else 0, CLASSES), dtype=np.float32)
    for row in range(count):
        own = np.zeros((1, layers, 2 * net.channels), dtype=np.float32)
        if cond is not None:
            own = np.ascontiguousarray(cond[:, row].float().cpu().numpy())
        run(
            codes[row], scores[row], known is not None, own, net.hop, uniform[row].double().cpu().numpy(),
            float(temperature), net.mixtures, np.array(net.dilations), *weights,
        )  # fmt: skip
    return torch.from_numpy(codes), torch.from_numpy(scores)


def _weights(net: WaveNet) -> list[np.ndarray]:
    """The weights as the compiled step reads them: for every input its outputs side by side."""

    def of(name: str, *, transposed: bool = False) -> np.ndarray:
        found = [layer.get_parameter(name).detach().float().cpu().numpy() for layer in net.layers]
        return np.ascontiguousarray(np.stack([each.T if transposed else each for each in found]))

    def plain(tensor: Tensor) -> np.ndarray:
        return np.ascontiguousarray(tensor.detach().float().cpu().numpy())

    return [
        plain(net.embed.weight),
        of("now.weight", transposed=True), of("past.weight", transposed=True), of("now.bias"),
        of("out.weight", transposed=True), of("out.bias"),
        plain(net.skip.weight.T.unflatten(0, (len(net.dilations), net.channels))), plain(net.skip.bias),
        plain(net.hidden.weight.T), plain(net.hidden.bias), plain(net.head.weight.T), plain(net.head.bias),
    ]  # fmt: skip


_made: list[Callable[..., Any]] = []


def _compiled() -> Callable[..., Any]:
    """The step loop, compiled once a process and kept on disk by numba."""
    if not _made:
        import numba

        _made.append(numba.njit(cache=True, fastmath={"contract", "nsz"}, nogil=True)(_run))
    return _made[0]


def _run(  # noqa: PLR0912, PLR0915, PLR0917 - one loop without calls is what makes it fast
    codes: np.ndarray, scores: np.ndarray, known: bool, cond: np.ndarray, hop: int, uniform: np.ndarray,
    temperature: float, mixtures: int, dilations: np.ndarray, embed: np.ndarray, now: np.ndarray, past: np.ndarray,
    bias: np.ndarray, out: np.ndarray, out_bias: np.ndarray, skip: np.ndarray, skip_bias: np.ndarray,
    hidden: np.ndarray, hidden_bias: np.ndarray, head: np.ndarray, head_bias: np.ndarray,
) -> None:  # fmt: skip
    """Fill `codes` (T,), or `scores` (T, 256) of known codes. Weights are (layers, inputs, outputs).

    `mixtures` is the number of logistic distributions that the last layer describes; 0: it gives 256 logits.
    """
    layers, channels, doubled = now.shape
    width = skip.shape[2]
    begin = np.zeros(layers + 1, dtype=np.int64)
    for layer in range(layers):
        begin[layer + 1] = begin[layer] + dilations[layer]
    queue = np.zeros((begin[layers], channels), dtype=np.float32)
    x = np.empty(channels, dtype=np.float32)
    a = np.empty(doubled, dtype=np.float32)
    z = np.empty(channels, dtype=np.float32)
    h = np.empty(width, dtype=np.float32)
    g = np.empty(width, dtype=np.float32)
    outputs = np.empty(head.shape[1], dtype=np.float32)
    logits = np.empty(256, dtype=np.float32)
    chances = np.empty(256, dtype=np.float64)
    before = 128
    for time in range(len(codes)):
        frame = min(time // hop, cond.shape[0] - 1)
        x[:] = embed[before]
        h[:] = skip_bias
        for layer in range(layers):
            slot = begin[layer] + time % dilations[layer]
            for j in range(doubled):
                a[j] = bias[layer, j] + cond[frame, layer, j]
            for i in range(channels):
                xi = x[i]
                pi = queue[slot, i]
                queue[slot, i] = xi
                for j in range(doubled):
                    a[j] += xi * now[layer, i, j] + pi * past[layer, i, j]
            for j in range(channels):
                z[j] = np.tanh(a[j]) / (np.float32(1) + np.exp(-a[channels + j]))
            for j in range(channels):
                x[j] += out_bias[layer, j]
            for i in range(channels):
                zi = z[i]
                for j in range(channels):
                    x[j] += zi * out[layer, i, j]
                for j in range(width):
                    h[j] += zi * skip[layer, i, j]
        g[:] = hidden_bias
        for i in range(width):
            if h[i] > 0:
                hi = h[i]
                for j in range(width):
                    g[j] += hi * hidden[i, j]
        outputs[:] = head_bias
        for i in range(width):
            if g[i] > 0:
                gi = g[i]
                for j in range(len(outputs)):
                    outputs[j] += gi * head[i, j]
        if mixtures:  # as `mixture_log_probs`
            chances[:] = 1e-30
            total = 0.0
            highest = outputs[:mixtures].max()
            for k in range(mixtures):
                total += np.exp(np.float64(outputs[k] - highest))
            for k in range(mixtures):
                share = np.exp(np.float64(outputs[k] - highest)) / total
                mean = np.float64(outputs[mixtures + k])
                steep = np.exp(-max(np.float64(outputs[2 * mixtures + k]), -7.0))
                inside = -np.expm1(-2 * steep / 255)
                for j in range(256):
                    value = (2 * j - 255) / 255
                    p = 1.0
                    if j < 255:
                        p /= 1 + np.exp(-(value + 1 / 255 - mean) * steep)
                    if j > 0:
                        p /= 1 + np.exp((value - 1 / 255 - mean) * steep)
                    if 0 < j < 255:
                        p *= inside
                    chances[j] += share * p
            for j in range(256):
                logits[j] = np.log(chances[j])
        else:
            logits[:] = outputs
        if known:
            scores[time] = logits
            before = codes[time]
            continue
        before = int(np.argmax(logits))
        if temperature > 0:
            highest = logits[before]
            total = 0.0
            for j in range(len(logits)):
                total += np.exp((np.float64(logits[j]) - highest) / temperature)
            wanted, cumulative = uniform[time] * total, 0.0
            for j in range(len(logits)):
                cumulative += np.exp((np.float64(logits[j]) - highest) / temperature)
                if cumulative > wanted:
                    before = j
                    break
        codes[time] = before
