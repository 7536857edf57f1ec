"""Tasks and networks of kinds that Lantu does not ship: several optimizers, inputs by name, ordered classes."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.data import TableDataModule
from lantu.tasks import Classification, Task


class Adversarial(Task):
    """A GAN: a generator and a discriminator, each with an optimizer, stepped by hand."""

    figure_stages = ()

    def __init__(self, net: nn.Module, *, features: int, noise: int = 4, **options: Any) -> None:
        super().__init__(net, **options)
        self.automatic_optimization = False
        self.noise = noise
        self.generator = nn.Sequential(nn.Linear(noise, 32), nn.ReLU(), nn.Linear(32, features))

    def configure_optimizers(self) -> Any:
        return [self.optimizer_of(net, optimizers=2) for net in (self.net, self.generator)]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        real, fake = batch[0].flatten(1), self.made(len(batch[0]))
        critic, maker = self.optimizers()
        told = self._told(real, True) + self._told(fake.detach(), False)
        self._step(critic, told)
        fooled = self._told(fake, True)
        self._step(maker, fooled)
        self.step_schedules()
        self.measure(fake, batch[0], told.detach(), stage="train")
        self.log_train_loss(told.detach(), generator_loss=fooled.detach())

    def output_and_loss(self, x: Tensor, y: Any, *, stage: str) -> tuple[Any, Tensor]:
        fake = self.made(len(x), seed=0)
        return fake, self._told(x.flatten(1), True) + self._told(fake, False)

    def made(self, count: int, *, seed: int | None = None) -> Tensor:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return self.generator(torch.randn(count, self.noise, generator=generator))

    def samples(self, data: Any, *, stage: str = "val") -> dict[str, Any]:
        from matplotlib.figure import Figure

        figure = Figure()
        figure.add_subplot().imshow(self.made(1, seed=0).detach().reshape(8, -1))
        return {"digit": figure}

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def _told(self, x: Tensor, real: bool) -> Tensor:
        logits = self.net(x)[:, 0]
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


class NamedTables(TableDataModule):
    """A table whose batches are dictionaries: the first half of the features, and the rest."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch

    def prepared(self, rows: Any, y: Tensor | None) -> Any:
        return _Named(super().prepared(rows, y))


class _Named:
    def __init__(self, examples: Any) -> None:
        self.examples, self.y = examples, examples.y

    def __len__(self) -> int:
        return len(self.examples)

    def __getitems__(self, indices: list[int]) -> Any:
        batch = self.examples.__getitems__(indices)
        x = batch[0] if isinstance(batch, tuple) else batch
        named = {"left": x[:, : x.shape[1] // 2], "right": x[:, x.shape[1] // 2 :]}
        return (named, batch[1]) if isinstance(batch, tuple) else named


class TwoTowers(nn.Module):
    """Takes {"left": (N, A), "right": (N, B)} and gives (N, outputs)."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        half = features // 2
        self.left, self.right = nn.Linear(half, outputs), nn.Linear(features - half, outputs)

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        return self.left(x["left"]) + self.right(x["right"])


class Ordinal(Classification):
    """Ordered classes (Niu et al. 2016): K - 1 logits, each of whether the class lies above a threshold."""

    @classmethod
    def facts(cls, spec: Any, options: Any) -> dict[str, Any]:
        return {"outputs": spec["classes"] - 1}

    def loss(self, output: Tensor, y: Tensor, *, stage: str) -> Tensor:
        above = (y[:, None] > torch.arange(self.classes - 1)).float()
        return F.binary_cross_entropy_with_logits(output, above)

    def probabilities(self, output: Tensor) -> Tensor:
        above = output.float().sigmoid().cummin(dim=1).values
        edges = torch.cat([torch.ones_like(above[:, :1]), above, torch.zeros_like(above[:, :1])], dim=1)
        return edges[:, :-1] - edges[:, 1:]

    def example_losses(self, output: Tensor, y: Tensor) -> Tensor:
        above = (y[:, None] > torch.arange(self.classes - 1)).float()
        return F.binary_cross_entropy_with_logits(output, above, reduction="none").mean(dim=1)
