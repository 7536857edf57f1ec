"""Generate images: a generator and a discriminator that train each other."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MetricCollection

from lantu.errors import UserError
from lantu.models.gan import GAN, Generator
from lantu.tasks import adversarial_figures as drawn
from lantu.tasks import adversarial_losses as losses
from lantu.tasks.generation_quality import GenerationQuality
from lantu.tasks.image_features import ClassifierFeatures, InceptionFeatures, fit_or_load
from lantu.tasks.memorization import Split, compare_with_training
from lantu.tasks.outputs import Outputs
from lantu.tasks.task import Task

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.types import Schema

    from lantu.data.data_module import DataModule

SEED = 0
"""Of the noise of whatever is shown and measured: the same at every validation and in every run."""
ROWS, COLUMNS = 10, 10
"""Of a sheet of generated images."""
LOOKED_UP = 1000
"""Generated images whose nearest training image is looked for."""


class Adversarial(Task):
    """A generative adversarial network (Goodfellow et al. 2014) on images.

    Networks have a `generator` and a `discriminator` as `lantu.models.GAN` describes. Both are stepped once a batch.
    Measured, shown and predicted with is an exponential moving average of the generator's weights.

    Its losses are in `lantu.tasks.adversarial_losses`.

    `val/loss` is the discriminator's; it says nothing of the images. The best checkpoint is the one of the least
    Fréchet distance.

    Args:
        class_names: in the order of their numbers.
        objective: non_saturating or relativistic; null: the network's own.
        penalty: weight of R1 and R2, 0 for none; null: the network's own.
        penalty_every: steps between two penalties, which then count as much more (Karras et al. 2020).
        ema: decay of the average of the generator's weights; 0: none.
        feature_steps: of the classifier whose features measure the images, at most.
        compared: training images among which the nearest to a generated one is looked for.
        inception: a local file with torchvision's weights of Inception v3, to measure by its features instead.
    """

    figure_stages = ("test",)
    generates = True
    steps_per_batch = 2
    best_by = "val/fid_classifier"
    net: GAN

    def __init__(
        self,
        net: GAN,
        *,
        class_names: list[str],
        objective: str | None = None,
        penalty: float | None = None,
        penalty_every: int = 4,
        ema: float = 0.999,
        feature_steps: int = 100_000,
        compared: int = 20_000,
        inception: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(net, **options)
        if not (hasattr(net, "generator") and hasattr(net, "discriminator")):
            raise UserError("`task=adversarial` needs a network with a generator: `model=r3gan` or `model=dcgan`.")
        self.objective = objective or net.objective
        self.penalty = net.penalty if penalty is None else penalty
        if self.objective not in losses.OBJECTIVES:
            raise UserError(f"`task.objective={objective}`: the losses are {' and '.join(losses.OBJECTIVES)}.")
        if self.penalty < 0 or penalty_every < 1 or not 0 <= ema < 1 or feature_steps < 1 or compared < 1:
            raise UserError(
                "`task.penalty` is 0 or more, `task.ema` lies in [0, 1), and `task.penalty_every`, "
                "`task.feature_steps` and `task.compared` are at least 1."
            )
        self.automatic_optimization = False
        self.class_names = list(class_names)
        self.penalty_every, self.feature_steps, self.compared = penalty_every, feature_steps, compared
        self.average = AveragedModel(net.generator, multi_avg_fn=losses.moving_average(ema), use_buffers=True)
        self.average.requires_grad_(False)
        self.classifier = ClassifierFeatures(net.channels, len(self.class_names))
        self.inception = inception
        self._inception: list[InceptionFeatures] = []  # in a list: its weights do not belong into checkpoints
        name = "inception" if inception else "classifier"
        self.best_by = f"val/fid_{name}"
        self.use_metrics(lambda: MetricCollection({"quality": GenerationQuality(name, classes=len(self.class_names))}))
        self._noise: torch.Generator | None = None

    # Training

    def configure_optimizers(self) -> Any:
        return [self.optimizer_of(each, optimizers=2) for each in (self.net.generator, self.net.discriminator)]

    def check_trainer(self, trainer: Trainer) -> None:
        super().check_trainer(trainer)
        if trainer.world_size > 1:
            raise UserError(
                f"`trainer.devices={trainer.world_size}`: two networks that step in turn train on one device here; "
                "type `trainer.devices=1`."
            )

    def on_fit_start(self) -> None:
        """Train the classifier that measures the images, unless a checkpoint or the cache has it."""
        data: Any = self.trainer.datamodule
        if not bool(self.classifier.fitted):
            read = self._reader(data.splits["train"])
            fit_or_load(self.classifier, data, read, steps=self.feature_steps)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        x, y = self._inputs_and_targets(batch)
        real = self.net.images(x)
        for_generator, for_discriminator = self.optimizers()
        fake = self.net.generator(torch.randn(len(real), self.net.noise, device=self.device), y)
        loss = self._discriminator_loss(real, fake.detach(), y, batch_idx)
        _step(self, for_discriminator, loss)
        self.net.discriminator.requires_grad_(False)  # no gradients are needed for its weights now
        generator_loss = losses.generator_loss(
            partial(self.net.discriminator, y=y), real, fake, objective=self.objective
        )
        _step(self, for_generator, generator_loss)
        self.net.discriminator.requires_grad_(True)
        self.average.update_parameters(self.net.generator)
        self.step_schedules()
        self.measure(fake, y, loss.detach(), stage="train")
        self.log_train_loss(loss.detach(), generator_loss=generator_loss.detach())

    def _discriminator_loss(self, real: Tensor, fake: Tensor, y: Tensor, batch_idx: int) -> Tensor:
        """With the penalty at every `penalty_every` steps alone, then as much larger."""
        penalty = self.penalty * self.penalty_every if batch_idx % self.penalty_every == 0 else 0.0
        discriminator = partial(self.net.discriminator, y=y)
        return losses.discriminator_loss(discriminator, real, fake, objective=self.objective, penalty=penalty)

    # Measuring

    def on_validation_start(self) -> None:
        super().on_validation_start()
        self._noise = None

    def on_test_start(self) -> None:
        super().on_test_start()
        self._noise = None

    def output_and_loss(self, x: Tensor, y: Tensor, *, stage: str) -> tuple[Any, Tensor]:
        """As many images as are in a batch, of the same classes, with their features; and the discriminator's loss."""
        if self._noise is None:
            self._noise = torch.Generator().manual_seed(SEED)
        real = self.net.images(x)
        fake = self.made(y, random=self._noise)
        loss = losses.logit_loss(self.net.discriminator(real, y), self.net.discriminator(fake, y), self.objective)
        features = self.features()
        output = {"features": features(fake), "real": features(real), "image": _bytes(fake)}
        if bool(self.classifier.fitted):
            own = output["features"] if features is self.classifier else self.classifier(fake)
            output["predicted"] = self.classifier.classes(own)
        return output, loss

    def observe(self, metrics: MetricCollection, output: dict[str, Tensor], y: Tensor) -> None:
        requested = y if self.net.conditional else None
        quality: Any = metrics["quality"]
        quality.update(output["real"], output["features"], requested=requested, predicted=output.get("predicted"))

    def collect(self, output: dict[str, Tensor], y: Tensor) -> Outputs | None:
        """The class that each generated image seems to be of."""
        return {"predicted": output["predicted"]} if "predicted" in output else None

    def features(self) -> nn.Module:
        """What images are compared by."""
        if self.inception is None:
            return self.classifier
        if not self._inception:
            self._inception.append(InceptionFeatures(self.inception).to(self.device))
        return self._inception[0]

    @torch.no_grad()
    def made(self, y: Tensor, *, random: torch.Generator) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] of class numbers (N,), by the averaged weights."""
        average = self.average.train(False)
        parts = []
        for labels in y.split(500):
            z = torch.randn(len(labels), self.net.noise, generator=random)
            parts.append(average(z.to(self.device), labels.to(self.device)))
        return torch.cat(parts)

    # Export

    @property
    def deployed(self) -> nn.Module:
        """The generator with the averaged weights."""
        return Generator(self.average.train(False))

    def export_inputs(self, count: int) -> list[dict[str, Tensor]]:
        """Noise, and every class in turn."""
        noise = torch.randn(count, self.net.noise, generator=torch.Generator().manual_seed(SEED))
        return [{"noise": noise, "class": torch.arange(count) % len(self.class_names)}]

    # What shows a run

    def figures(self, stage: str, outputs: Outputs) -> Iterator[tuple[str, Any]]:
        """How many of the generated images seem to be of each class."""
        if outputs:
            counts = torch.bincount(outputs["predicted"], minlength=len(self.class_names)).numpy()
            yield "generated_classes", drawn.class_shares(counts, self.class_names)

    def samples(self, data: "DataModule", *, stage: str = "val") -> dict[str, Any]:
        """A sheet of generated images, a row for each class; of the test also the nearest training images.

        The numbers of the test are `fid_floor`, the distance of real training images from the test's, which no
        generator can be expected to beat; and `nearest_ratio`, the median distance of generated images to the nearest
        training image over that of test images. Far below 1 the generator copies training images.
        """
        random = torch.Generator().manual_seed(SEED)
        per_row = COLUMNS if len(self.class_names) <= ROWS else 1
        y = torch.arange(min(len(self.class_names), ROWS * COLUMNS)).repeat_interleave(per_row)
        shown: dict[str, Any] = {"generated": drawn.sheet(_bytes(self.made(y, random=random)), columns=COLUMNS)}
        if stage == "test" and "test" in data.splits:
            labels = torch.arange(LOOKED_UP) % len(self.class_names)
            train, test = (self._split(data.splits[part]) for part in ("train", "test"))
            generated = self.made(labels, random=random)
            found = compare_with_training(generated, train, test, self.features(), compared=self.compared, seed=SEED)
            pairs = torch.stack([_bytes(found.copies[:COLUMNS]), _bytes(found.nearest[:COLUMNS])]).flatten(0, 1)
            name = "inception" if self.inception else "classifier"
            shown["nearest_training"] = drawn.sheet(pairs, columns=COLUMNS)
            shown |= {f"test/fid_floor_{name}": found.fid_floor, "test/nearest_ratio": found.nearest_ratio}
        return shown

    def _split(self, examples: Any) -> Split:
        return Split(self._reader(examples), len(examples))

    def _reader(self, examples: Any) -> Any:
        """Reads examples by number as images (N, C, H, W) in [-1, 1] on the task's device."""
        return lambda rows: self.net.images(examples.__getitems__(rows)[0].to(self.device))

    # New images

    def generate(self, count: int, *, classes: list[str] | None = None, seed: int = SEED) -> tuple[Tensor, list[str]]:
        """New images as bytes (N, H, W, C), and the class that was asked for of each.

        Args:
            count: N.
            classes: names; null: every class in turn.

        Raises:
            UserError: there is no such class.
        """
        names = list(classes or self.class_names)
        for name in names:
            if name not in self.class_names:
                from lantu.suggestions import did_you_mean

                near = did_you_mean(name, self.class_names)
                raise UserError(f"`classes={name}`: the model knows {', '.join(self.class_names)}.{near}")
        of_each = [names[number % len(names)] for number in range(count)]
        y = torch.tensor([self.class_names.index(name) for name in of_each])
        return _bytes(self.made(y, random=torch.Generator().manual_seed(seed))).cpu(), of_each

    def usage(self, run_dir: Path) -> list[tuple[str, str]]:
        return [("lantu predict run=last output=DIR count=64", "write new images")]

    def respond(self, data: "DataModule", inputs: Any, params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """An image, as the bytes of a PNG file, for each row of a table with a column `class`."""
        import pandas as pd

        if not isinstance(inputs, pd.DataFrame) or "class" not in inputs:
            raise UserError("A request for images is a table with a column `class`: the class of each image.")
        if not len(inputs):
            return pd.DataFrame({"image": []})
        seed = int((params or {}).get("seed", SEED))
        pictures, _ = self.generate(len(inputs), classes=[str(each) for each in inputs["class"]], seed=seed)
        return pd.DataFrame({"image": [drawn.as_png(each) for each in pictures.numpy()]})

    def input_signature(self, data: "DataModule") -> "Schema":
        from mlflow.types import ColSpec, Schema

        return Schema([ColSpec("string", "class")])

    def output_signature(self) -> "Schema":
        from mlflow.types import ColSpec, Schema

        return Schema([ColSpec("binary", "image")])


def _step(task: Task, optimizer: Any, loss: Tensor) -> None:
    optimizer.zero_grad()
    task.manual_backward(loss)
    optimizer.step()


def _bytes(images: Tensor) -> Tensor:
    """Images (N, C, H, W) in [-1, 1] as bytes (N, H, W, C)."""
    return ((images + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
