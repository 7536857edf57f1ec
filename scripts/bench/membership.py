"""What a membership attack finds out about models with and without privacy: `python scripts/bench/membership.py`.

Networks with 64 hidden units learn random halves of 600 digits until they know them by heart, or with DP-SGD.
"""

import argparse
import copy
from typing import Any

import numpy as np
import torch
from opacus.grad_sample import GradSampleHooks
from sklearn.datasets import load_digits
from torch import Tensor, nn

from lantu.models import MLP
from lantu.responsible.privacy.accounting import noise_for
from lantu.responsible.privacy.membership import judge, lira, scaled_confidence
from lantu.responsible.privacy.optimizer import PrivateOptimizer
from lantu.responsible.privacy.secret import Secret

STEPS, RATE = 150, 0.25


def train(net: nn.Module, x: Tensor, y: Tensor, *, secret: Secret, noise: float | None) -> None:
    """Poisson-sampled SGD, private where there is noise."""
    optimizer: Any = torch.optim.SGD(net.parameters(), lr=0.5 if noise else 0.2, momentum=0.9)
    if noise:
        hooks = GradSampleHooks(net, loss_reduction="mean")
        hooks.enable_hooks()
        size = round(RATE * len(x))
        optimizer = PrivateOptimizer(optimizer, secret=secret, clip=1.0, batch_size=size, allow=lambda: None)
        optimizer.noise_multiplier = noise
    for step in range(STEPS):
        drawn = np.flatnonzero(secret.integers(len(x), b"batch", step) < np.uint64(int(RATE * 2**64)))
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[drawn]), y[drawn]).backward()
        optimizer.step()


def main() -> None:
    """Train, attack, and print a line for each epsilon."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=int, default=16)
    asked = parser.parse_args()
    digits = load_digits()
    random = np.random.default_rng(0)
    rows = random.permutation(len(digits.target))
    x = torch.tensor((digits.data - 4.9) / 6.0, dtype=torch.float32)
    y = torch.tensor(digits.target)
    pool, test = rows[:600], rows[600:]
    member = np.zeros((asked.models, len(pool)), dtype=bool)
    for pair in range(0, asked.models, 2):  # every example is in one model of each pair
        member[pair] = random.permutation(len(pool)) < len(pool) // 2
        member[pair + 1] = ~member[pair]
    torch.manual_seed(0)
    start = MLP(64, 10, hidden=[64])
    for epsilon in (None, 8, 3, 1):
        noise = None if epsilon is None else noise_for(epsilon, delta=1e-4, rate=RATE, steps=STEPS, accountant="rdp")
        scores, right = [], []
        for number in range(asked.models):
            net, chosen = copy.deepcopy(start), pool[member[number]]
            secret = Secret(number.to_bytes(32, "big"))  # a bench repeats; a run draws its key from the system
            train(net, x[chosen], y[chosen], secret=secret, noise=noise)
            with torch.no_grad():
                scores.append(scaled_confidence(net(x[pool]).double().softmax(dim=1).numpy(), digits.target[pool]))
                right.append(float((net(x[test]).argmax(dim=1) == y[test]).float().mean()))
        found = judge(lira(np.array(scores), member), member, delta=1e-4)
        print(
            f"epsilon {epsilon or 'none'}: accuracy {np.mean(right):.3f}, attack AUC {found.auc:.3f}, "
            f"TPR at 1% FPR {found.tpr:.3f}, measured epsilon at least {found.epsilon:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
