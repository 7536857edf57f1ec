"""Augmentation changes training pictures alone, and the same way whenever an epoch comes to an example."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from lantu.config.checking import check
from lantu.config.composing import compose
from lantu.data import Augment, ImageDataModule, sklearn
from lantu.data.image.augment import Draws
from lantu.data.samplers import Chosen, TrainingBatches
from lantu.errors import UserError

PRESETS: dict[str, dict[str, Any]] = {
    "flip": {"flip": 0.5},
    "shift": {"shift": 0.2},
    "erase": {"erase": 1.0},
    "zoom": {"zoom": 0.5},
    "randaugment": {"policy": "randaugment"},
    "trivial": {"policy": "trivial"},
    "one's own": {"transforms": [v2.RandomRotation(30)]},
    "mixup": {"flip": 0.5, "mixup": 0.4},
    "cutmix": {"cutmix": 1.0},
    "mixup and cutmix": {"mixup": 0.2, "cutmix": 1.0},
}


def digits(tmp_path: Path, **options: Any) -> ImageDataModule:
    made = ImageDataModule(source=lambda: sklearn("digits"), cache=str(tmp_path), **options)
    made.setup("fit")
    return made


def pictures(count: int = 64, channels: int = 3) -> torch.Tensor:
    content = np.random.default_rng(0).integers(0, 256, (count, 16, 12, channels), dtype=np.uint8)
    return torch.from_numpy(content)


def draws(examples: Any = range(64), epoch: int = 0) -> Draws:
    return Draws(0, epoch, np.asarray(examples), np.zeros(len(examples), dtype=int))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_batch_is_the_same_whatever_was_drawn_before(preset: str, tmp_path: Path) -> None:
    train = digits(tmp_path, augment=Augment(**PRESETS[preset])).splits["train"]
    chosen = Chosen([5, 3, 9, 700], seed=1, epoch=4)
    torch.manual_seed(0)
    x, y = train.__getitems__(chosen)  # type: ignore[attr-defined]
    torch.manual_seed(99)
    torch.rand(10)
    state = torch.get_rng_state()
    again, targets = train.__getitems__(chosen)  # type: ignore[attr-defined]
    assert torch.equal(x, again)
    assert torch.equal(y, targets)
    assert torch.equal(torch.get_rng_state(), state)  # dropout goes on as without augmentation


@pytest.mark.parametrize("preset", [name for name in PRESETS if "mix" not in name])
def test_what_happens_to_a_picture_depends_on_seed_epoch_and_example_alone(preset: str) -> None:
    augment, x = Augment(**PRESETS[preset]), pictures()
    whole = augment.pictures(x, draws())
    part = augment.pictures(x[10:20], draws(range(10, 20)))
    assert torch.equal(whole[10:20], part)
    assert whole.dtype == torch.uint8
    assert whole.shape == x.shape
    assert not torch.equal(whole, augment.pictures(x, draws(epoch=1)))
    assert not torch.equal(whole, augment.pictures(x, draws()._replace(seed=1)))
    assert not torch.equal(whole, augment.pictures(x, draws()._replace(repeats=np.ones(64, dtype=int))))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_epoch_goes_on_with_the_same_pictures_on_any_number_of_workers(workers: int, tmp_path: Path) -> None:
    options = {"augment": Augment(flip=0.5, policy="trivial", mixup=0.2), "workers": workers}
    whole = list(digits(tmp_path, **options).train_dataloader())
    resumed = digits(tmp_path, **options)
    resumed.begins = (0, 20)
    rest = list(resumed.train_dataloader())
    assert len(rest) == len(whole) - 20
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(whole[20:], rest, strict=True))
    if workers == 0:
        several = list(digits(tmp_path, **(options | {"workers": 2})).train_dataloader())
        assert all(torch.equal(a[0], b[0]) for a, b in zip(whole, several, strict=True))


def test_validation_test_and_new_pictures_stay_as_they_are(tmp_path: Path) -> None:
    plain, changed = digits(tmp_path), digits(tmp_path, augment=Augment(flip=1.0, erase=1.0))
    for part in ("val_dataloader", "test_dataloader"):
        for a, b in zip(getattr(plain, part)(), getattr(changed, part)(), strict=True):
            assert torch.equal(a[0], b[0])
    x, _ = next(iter(changed.train_dataloader()))
    assert not torch.equal(x, next(iter(plain.train_dataloader()))[0])


def test_flips_mirror_left_to_right() -> None:
    x = pictures()
    assert torch.equal(Augment(flip=1.0).pictures(x, draws()), x.flip(2))
    mirrored = (Augment(flip=0.5).pictures(x, draws()) == x.flip(2)).flatten(1).all(dim=1)
    assert 15 < int(mirrored.sum()) < 50


def test_shifts_move_by_at_most_their_share_and_fill_from_inside() -> None:
    x = torch.arange(16 * 12, dtype=torch.uint8).reshape(1, 16, 12, 1).expand(64, -1, -1, -1).contiguous()
    moved = Augment(shift=0.25).pictures(x, draws())
    middle = moved[:, 8, 6, 0].int() - int(x[0, 8, 6, 0])
    down, right = (middle + 6).div(12, rounding_mode="floor"), (middle + 6) % 12 - 6
    assert (int(down.min()), int(down.max()), int(right.min()), int(right.max())) == (-4, 4, -3, 3)


def test_erased_rectangles_are_of_the_pictures_mean_colour() -> None:
    x = pictures()
    erased = Augment(erase=1.0).pictures(x, draws())
    share = (erased != x).any(dim=3).float().mean(dim=(1, 2))
    assert float(share.max()) < 0.4
    assert float(share.min()) > 0
    number = int(share.argmax())
    assert (erased[number] == x[number].float().mean(dim=(0, 1)).round().to(torch.uint8)).all(
        dim=2
    ).float().mean() > 0.1


@pytest.mark.parametrize("preset", ["mixup", "cutmix"])
def test_mixed_pictures_and_targets_have_the_same_shares(preset: str) -> None:
    x = torch.stack([torch.full((1, 20, 20), float(number)) for number in range(8)])
    y = torch.arange(8)
    augment = Augment(**{preset: 1.0})
    mixed, targets = augment.mixed(x, y, draws(range(8)), classes=8)
    assert targets.sum(dim=1).allclose(torch.ones(8))
    # the mean of a picture's pixels is the mean of the numbers of the pictures in it, weighted by their shares
    assert mixed.mean(dim=(1, 2, 3)).allclose(targets @ torch.arange(8.0), atol=1e-5)
    number, amounts = augment.mixed(x, y.float()[:, None], draws(range(8)), classes=None)
    assert amounts[:, 0].allclose(number.mean(dim=(1, 2, 3)), atol=1e-5)


def test_a_classification_takes_mixed_targets(tmp_path: Path) -> None:
    from lantu.models import Linear
    from lantu.tasks import Classification

    made = digits(tmp_path, augment=Augment(mixup=0.2))
    x, y = next(iter(made.train_dataloader()))
    assert y.shape == (64, 10)
    net = Linear(features=64, outputs=10)
    weights = [float(number + 1) for number in range(10)]
    task = Classification(net, classes=10, class_weights=weights)
    loss = task.training_step((x, y), 0)
    expected = F.cross_entropy(net(x), y, weight=torch.tensor(weights))
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    hard = torch.arange(64) % 10
    soft = F.one_hot(hard, 10).float()
    assert float(task.training_weight(soft)) == pytest.approx(float(task.training_weight(hard)))


def test_a_balanced_epoch_holds_each_class_about_equally_often(tmp_path: Path) -> None:
    made = digits(tmp_path, balanced=True)
    y = made.splits["train"].y  # type: ignore[attr-defined]
    y[:600] = 0  # class 0 is the largest by far
    counts = sum(torch.bincount(y, minlength=10) for _, y in made.train_dataloader())
    assert int(counts.max() - counts.min()) <= 12  # type: ignore[union-attr]


def test_an_example_that_comes_again_in_an_epoch_is_changed_anew() -> None:
    weights = np.array([1.0] * 9 + [90.0])
    batches = list(TrainingBatches(100, batch_size=100, weights=np.repeat(weights, 10), seed=0))
    (batch,) = batches
    assert max(batch.repeats) > 5  # type: ignore[attr-defined]
    pairs = list(zip(batch, batch.repeats, strict=True))  # type: ignore[attr-defined]
    assert len(set(pairs)) == len(pairs) == 100


def test_a_contact_sheet_shows_pictures_beside_their_changed_ones(tmp_path: Path) -> None:
    sheet = digits(tmp_path, augment=Augment(shift=0.2)).augmented_sample()
    assert sheet is not None
    assert sheet.size == (8 * (2 * 64 + 16), 4 * 68)
    assert digits(tmp_path).augmented_sample() is None


@pytest.mark.parametrize("preset", ["light", "standard", "randaugment", "trivial"])
def test_shipped_presets_reach_the_data_of_images_and_no_other(preset: str) -> None:
    composition = compose("data=digits", f"augment={preset}")
    check(composition)
    assert composition.cfg.data.augment._target_ == "lantu.data.Augment"
    with pytest.raises(UserError, match=rf"`augment={preset}`.*`data=breast_cancer` takes no augmentation"):
        check(compose("data=breast_cancer", "model=mlp", f"augment={preset}"))


@pytest.mark.parametrize(
    "option",
    [{"flip": 2}, {"erase": -0.1}, {"shift": 1}, {"zoom": 0}, {"policy": "auto"}, {"magnitude": 31}, {"mixup": -1}],
)
def test_an_option_out_of_range_is_a_sentence(option: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"`augment\.{next(iter(option))}="):
        Augment(**option)
