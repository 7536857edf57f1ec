"""Learning-rate schedules at steps whose value is known."""

import math
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lantu.errors import UserError
from lantu.optim import constant, cosine, one_cycle, plateau, wsd

CONF = Path(__file__).resolve().parents[2] / "conf" / "scheduler"


def an_optimizer(*rates):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=1.0)


def rates(make, total_steps, **options):
    """The learning rate at each step, for an optimizer with lr=1."""
    optimizer = an_optimizer(1.0)
    scheduler = make(optimizer, total_steps=total_steps, **options)
    seen = []
    for _ in range(total_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_constant_without_a_warmup_has_nothing_to_schedule():
    assert constant(an_optimizer(1.0), total_steps=5) is None


def test_warmup_as_steps_and_as_a_share_are_the_same():
    assert rates(constant, 20, warmup=4) == rates(constant, 20, warmup=0.2)
    assert rates(constant, 20, warmup=4)[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_cosine_starts_at_the_rate_halves_in_the_middle_and_ends_at_the_floor():
    seen = rates(cosine, 100, min_lr_ratio=0.1)
    assert seen[0] == 1.0
    assert seen[50] == pytest.approx(0.55)
    assert seen[25] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2)
    assert seen[-1] == pytest.approx(0.1, abs=1e-3)


def test_cosine_is_torchs_after_the_warmup():
    optimizer = an_optimizer(1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=90, eta_min=0.1)
    expected = []
    for _ in range(90):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert rates(cosine, 100, warmup=10, min_lr_ratio=0.1)[10:] == pytest.approx(expected)


def test_cosine_stays_at_the_floor_when_training_is_extended():
    optimizer = an_optimizer(1.0)
    scheduler = cosine(optimizer, total_steps=10, min_lr_ratio=0.25)
    for _ in range(15):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_wsd_stays_until_its_decay_and_ends_at_the_floor():
    seen = rates(wsd, 100, warmup=10, decay=0.2, shape="linear")
    assert seen[10:81] == [1.0] * 71
    assert seen[90] == pytest.approx(0.5)
    assert rates(wsd, 100, decay=0.2, shape="sqrt")[85] == pytest.approx(0.5)


def test_one_cycle_rises_to_the_rate_of_each_group_and_falls_to_almost_nothing():
    optimizer = an_optimizer(1.0, 0.1)
    scheduler = one_cycle(optimizer, total_steps=10, warmup=0.3)
    seen = []
    for _ in range(10):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert seen[0] == pytest.approx([0.04, 0.004])
    assert seen[2] == pytest.approx([1.0, 0.1])
    assert seen[-1] == pytest.approx([4e-6, 4e-7])


def test_plateau_divides_after_patience_bad_validations():
    optimizer = an_optimizer(1.0)
    scheduler = plateau(optimizer, total_steps=99, factor=0.5, patience=1)
    seen = []
    for loss in (1.0, 0.9, 0.95, 0.95, 0.95, 0.95):
        scheduler.step(loss)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("total_steps", [1, 2, 3, 7])
@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_schedule_of_the_catalogue_survives_the_shortest_runs(file, total_steps):
    optimizer = an_optimizer(1.0)
    scheduler = instantiate(OmegaConf.load(file))(optimizer, total_steps=total_steps)
    for _ in range(total_steps):
        optimizer.step()
        if scheduler is not None:  # a constant rate needs none
            scheduler.step(1.0) if file.stem == "plateau" else scheduler.step()
        assert 0 <= optimizer.param_groups[0]["lr"] <= 1


@pytest.mark.parametrize("make", [constant, cosine, wsd, one_cycle])
def test_a_schedule_survives_saving_in_the_middle(make):
    optimizer, twin = an_optimizer(1.0), an_optimizer(1.0)
    scheduler, other = make(optimizer, total_steps=20, warmup=5), make(twin, total_steps=20, warmup=5)
    for _ in range(9):
        optimizer.step()
        scheduler.step()
    other.load_state_dict(scheduler.state_dict())
    twin.load_state_dict(optimizer.state_dict())
    for _ in range(9):
        for each, schedule in ((optimizer, scheduler), (twin, other)):
            each.step()
            schedule.step()
        assert twin.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize("make", [constant, cosine, wsd, one_cycle])
def test_a_schedule_that_must_know_the_length_says_so(make):
    with pytest.raises(UserError, match=r"trainer\.max_epochs"):
        make(an_optimizer(1.0), total_steps=-1, warmup=2)


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (cosine, {"min_lr_ratio": 2.0}),
        (cosine, {"warmup": -1}),
        (wsd, {"shape": "square"}),
        (plateau, {"factor": 2.0}),
        (one_cycle, {"min_lr_ratio": 0.0}),
    ],
)
def test_wrong_options_are_refused(make, options):
    with pytest.raises(UserError, match="scheduler"):
        make(an_optimizer(1.0), total_steps=10, **options)
