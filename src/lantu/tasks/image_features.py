"""What generated images are compared by: features of a network that classifies images of the same kind."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lantu.data.data_module import DataModule
from lantu.errors import UserError
from lantu.models.cnn import CNN
from lantu.notices import warn_once

FEATURES = 64
BATCH = 256
ROUNDS = 3
"""Epochs of the classifier's training."""
CHUNK = 500


class ClassifierFeatures(nn.Module):
    """A small CNN trained on the data's own training split; its last hidden layer has 64 features.

    Features of it tell the classes of the data apart, also where published networks never saw such images. Distances
    measured with it cannot be compared with those of other features: the metrics' names say `classifier`.

    Args:
        channels, classes: of the images.
    """

    name = "classifier"
    fitted: Tensor

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.channels = channels
        self.body = _body(channels)
        self.head = nn.Linear(FEATURES, classes)
        self.register_buffer("fitted", torch.tensor(False))
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, 64) of images (N, C, H, W) in [-1, 1]."""
        return self.body(x).relu()

    def classes(self, features: Tensor) -> Tensor:
        """The class (N,) of each image by its features."""
        return self.head(features).argmax(dim=1)

    def fit(self, read: Any, y: Tensor, *, steps: int, seed: int = 0) -> float:
        """Train it, the same way whatever the run's seed.

        Args:
            read: gives images (N, C, H, W) in [-1, 1] of example numbers.
            y: class numbers of all examples (M,).
            steps: of 256 images at most; three epochs otherwise.

        Returns:
            The share of the last hundred batches that it classified rightly.
        """
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            self.body.load_state_dict(_body(self.channels).state_dict())
            nn.init.kaiming_normal_(self.head.weight)
            nn.init.zeros_(self.head.bias)
            self.requires_grad_(True).train()
            per_epoch = -(-len(y) // BATCH)
            total = min(steps, ROUNDS * per_epoch)
            optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=total + 1)
            right: list[float] = []
            for step in range(total):
                if step % per_epoch == 0:
                    order = torch.randperm(len(y)).split(BATCH)
                rows = order[step % per_epoch]
                if len(rows) < 2:  # batch norm takes no variance of one
                    continue
                logits = self.head(self(read(rows.tolist())))
                target = y[rows].to(logits.device)
                loss = F.cross_entropy(logits, target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                right.append(float((logits.argmax(dim=1) == target).float().mean()))
        self.eval().requires_grad_(False)
        self.fitted.fill_(True)
        return float(np.mean(right[-100:]))


def _body(channels: int) -> CNN:
    return CNN(channels, FEATURES, widths=(32, 64, 128), convolutions=1, pool=4)


class InceptionFeatures(nn.Module):
    """The 2,048 features of torchvision's Inception v3, with weights from a local file.

    The weights are torchvision's (trained on ImageNet), so figures come near those that papers publish with the weights
    of 2015, and are not the same.

    Args:
        path: a file of `torch.save` or safetensors, such as inception_v3_google-0cc3c7bd.pth.
    """

    name = "inception"
    SIDE = 299
    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, path: str) -> None:
        super().__init__()
        from torchvision.models import inception_v3

        from lantu.optim.weights import load_weights

        self.net = inception_v3(weights=None, init_weights=False, transform_input=False)
        if not Path(path).expanduser().is_file():
            raise UserError(f"`task.inception={path}`: there is no such file of weights.")
        load_weights(self.net, path=path)
        self.net.fc = nn.Identity()
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, 2048) of images (N, C, H, W) in [-1, 1]."""
        x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        x = F.interpolate(x, size=(self.SIDE, self.SIDE), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(each, device=x.device).view(3, 1, 1) for each in (self.MEAN, self.STD))
        return self.net((x / 2 + 0.5 - mean) / std)

    def train(self, mode: bool = True) -> "InceptionFeatures":
        """Stays as it is: features are those of evaluation."""
        return super().train(False)


def fit_or_load(features: ClassifierFeatures, data: DataModule, read: Any, *, steps: int) -> None:
    """Train the classifier on the training split, or take it from the data's cache if a run has trained it before."""
    from safetensors.torch import load_file, save_file

    examples: Any = data.splits["train"]
    number = features.head.out_features
    file = data.cache / f"features-{data.fingerprints['train'][:16]}-{number}-{steps}.safetensors"
    if file.is_file():
        try:
            features.load_state_dict(load_file(file))
        except Exception:  # cut short or of an earlier version: it is made again
            file.unlink(missing_ok=True)
    if not bool(features.fitted):
        accuracy = features.fit(read, examples.y, steps=steps)
        warn_once(
            f"a small classifier was trained to measure the images by ({accuracy:.1%} of the last training images "
            "classified rightly)."
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        save_file(features.state_dict(), part)
        part.replace(file)
    features.eval()


@torch.no_grad()
def features_of(features: nn.Module, read: Any, rows: np.ndarray) -> Tensor:
    """Features (N, F) of examples, on the CPU."""
    return torch.cat(
        [features(read(part.tolist())).float().cpu() for part in np.array_split(rows, -(-len(rows) // CHUNK))]
    )
