"""Private training keeps its bound: noise, draws and account are right, and what would break it is refused."""

import copy
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from opacus.grad_sample import GradSampleHooks
from scipy.stats import kstest, norm
from torch import nn

import lantu
from lantu.config.checking import check
from lantu.data.batches import Examples
from lantu.errors import UserError
from lantu.models import CNN, MLP
from lantu.responsible.privacy import ledger
from lantu.responsible.privacy.accounting import affordable_steps, epsilon_of, noise_for
from lantu.responsible.privacy.checks import check_gradients, check_network
from lantu.responsible.privacy.hooks import per_example_gradients
from lantu.responsible.privacy.membership import judge, lira, scaled_confidence
from lantu.responsible.privacy.optimizer import PrivateOptimizer
from lantu.responsible.privacy.poisson_batches import PoissonBatches
from lantu.responsible.privacy.secret import Secret
from lantu.tasks import Classification
from tests.training.test_exact_resume import check_same, children, run, run_until

KEY = bytes(range(32))
DP = (
    "data=digits", "model=linear", "privacy=dp", "privacy.accountant=rdp", "data.batch_size=256", "optimizer=sgd",
    "optimizer.lr=0.5", "trainer.enable_progress_bar=false", "logger.mlflow.ship=false", "callbacks.figures=null",
    "test=false", "save_model=false",
)  # fmt: skip


pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")


# The numbers


def test_numbers_are_a_function_of_key_and_counter_alone_and_are_normal() -> None:
    first, again, other = Secret(KEY), Secret(KEY), Secret(bytes(32))
    drawn = first.normal(20_001, b"noise", 7, b"sum")
    assert np.array_equal(drawn, again.normal(20_001, b"noise", 7, b"sum"))
    for different in (
        other.normal(20_001, b"noise", 7, b"sum"),
        first.normal(20_001, b"noise", 8, b"sum"),
        first.normal(20_001, b"noise", 7, b"another sum"),
        first.normal(20_001, b"nois", b"e7", b"sum"),
    ):
        assert abs(np.corrcoef(drawn, different)[0, 1]) < 0.05
    assert kstest(drawn, "norm").pvalue > 1e-4


def test_a_key_file_is_for_its_owner_alone_is_never_overwritten_and_is_not_shown(tmp_path: Path) -> None:
    secret = Secret.create(tmp_path / "run" / "privacy.key")
    assert (tmp_path / "run" / "privacy.key").stat().st_mode & 0o777 == 0o600
    assert secret._key.hex() not in repr(secret)
    assert np.array_equal(Secret.read(tmp_path / "run" / "privacy.key").integers(3), secret.integers(3))
    with pytest.raises(UserError, match="cannot be written"):
        Secret.create(tmp_path / "run" / "privacy.key")


def test_every_example_is_drawn_independently_with_the_same_probability() -> None:
    batches = PoissonBatches(400, batch_size=20, secret=Secret(KEY))
    drawn = np.zeros((3000, 400), dtype=bool)
    for number in range(3000):
        drawn[number, batches.drawn(0, number)] = True
    assert len(batches) == 20
    assert drawn.mean() == pytest.approx(0.05, abs=0.002)
    assert np.abs(drawn.mean(axis=0) - 0.05).max() < 5 * np.sqrt(0.05 * 0.95 / 3000)
    assert drawn.sum(axis=1).var() == pytest.approx(400 * 0.05 * 0.95, rel=0.15)


# The step


def net_and_data() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))
    return net, 3 * torch.randn(10, 6), torch.randint(3, (10,))


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_step_is_the_sum_of_clipped_gradients_by_hand_plus_the_secret_noise_over_the_mean_batch_size(
    is_empty: bool,
) -> None:
    net, x, y = net_and_data()
    by_hand = copy.deepcopy(net)
    total = [torch.zeros_like(each) for each in by_hand.parameters()]
    for number in range(10):
        gradient = torch.autograd.grad(
            nn.functional.cross_entropy(by_hand(x[number : number + 1]), y[number : number + 1]), by_hand.parameters()
        )
        length = torch.cat([each.flatten() for each in gradient]).norm()
        factor = 0.0 if is_empty else min(1.0, float(0.5 / length))
        total = [each + part * factor for each, part in zip(total, gradient, strict=True)]

    hooks = GradSampleHooks(net, loss_reduction="mean")
    hooks.enable_hooks()
    optimizer = PrivateOptimizer(
        torch.optim.SGD(net.parameters(), lr=1), secret=Secret(KEY), clip=0.5, batch_size=4, allow=lambda: None
    )
    optimizer.noise_multiplier, optimizer.is_empty = 2.0, is_empty
    before = [each.detach().clone() for each in net.parameters()]
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()
    steps = [old - new for old, new in zip(before, (each.detach() for each in net.parameters()), strict=True)]
    optimizer.steps = 0  # the noise of the step that was taken
    noise = optimizer._noise([each.summed_grad for each in optimizer.params])
    for step, clipped, drawn in zip(steps, total, noise, strict=True):
        assert torch.allclose(step, (clipped + drawn) / 4, atol=1e-5)
    assert torch.cat([each.flatten() for each in noise]).std() == pytest.approx(1.0, rel=0.2)  # noise × clip


# The account


def test_one_step_on_all_examples_spends_what_the_gaussian_mechanism_does() -> None:
    def delta(epsilon: float, sigma: float) -> float:  # Balle and Wang 2018, theorem 8
        return float(
            norm.cdf(0.5 / sigma - epsilon * sigma) - np.exp(epsilon) * norm.cdf(-0.5 / sigma - epsilon * sigma)
        )

    found = epsilon_of([(2.0, 0.999999, 1)], delta=1e-5)
    assert delta(found, 2.0) <= 1e-5 <= delta(found - 0.03, 2.0)


@pytest.mark.parametrize("accountant", ["rdp", "prv"])
def test_the_noise_that_is_found_spends_the_budget_and_no_more_and_affords_just_the_planned_steps(
    accountant: str,
) -> None:
    options: Any = {"delta": 1e-5, "accountant": accountant}
    noise = noise_for(2.0, rate=0.05, steps=100, **options)
    assert 1.98 < epsilon_of([(noise, 0.05, 100)], **options) <= 2.0
    assert affordable_steps(2.0, noise=noise, rate=0.05, most=500, spent=[], **options) in (100, 101, 102)


def test_a_sweep_spends_what_one_run_of_all_its_steps_does(tmp_path: Path) -> None:
    for name, steps in (("a", 40), ("b", 60)):
        ledger.write(tmp_path / name, {"delta": 1e-5, "history": [[1.1, 0.02, steps]]})
    total = ledger.total_of([tmp_path / "a", tmp_path / "b", tmp_path / "not private"])
    assert total is not None
    assert total["runs"] == 2
    assert total["epsilon"] == pytest.approx(epsilon_of([(1.1, 0.02, 100)], delta=1e-5))


# What is refused


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("task.class_weights=balanced", "task.class_weights=null"),
        ("task.l1=0.1", "optimizer.weight_decay"),
        ("trainer.gradient_clip_val=1", "privacy.clip"),
        ("trainer.accumulate_grad_batches=2", "data.batch_size"),
        ("data.balanced=true", "Leave it out"),
        ("model=cnn", "model.norm=group"),
        ("compile=true", "Leave it out"),
        ("privacy.epsilon=0", "above 0"),
    ],
)
def test_an_option_that_would_break_the_guarantee_is_refused_with_what_to_type(option: str, instead: str) -> None:
    with pytest.raises(UserError, match=instead):
        check(lantu.compose("privacy=dp", "model=linear", option))


def test_networks_that_mix_examples_or_keep_them_from_opacus_are_refused() -> None:
    for net, why in ((MLP(4, 3, norm="batch"), "batch norm"), (nn.Sequential(nn.LSTM(3, 4)), "recurrent")):
        with pytest.raises(UserError, match=why):
            check_network(net)


class Places(nn.Module):
    """Uses a weight past its layer's forward, as learned positions do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x @ self.layer.weight)


def refusal(net: nn.Module, x: torch.Tensor | None = None, **options: Any) -> str:
    torch.manual_seed(0)
    task = Classification(net, classes=3, **options)
    x = torch.randn(5, 4) if x is None else x
    data: Any = SimpleNamespace(splits={"train": Examples(x, torch.tensor([0, 1, 2, 0, 1]))})
    state = torch.get_rng_state()
    try:
        check_gradients(task, data, per_example_gradients(net))
    except UserError as error:
        return str(error)
    assert torch.equal(state, torch.get_rng_state())
    return ""


def test_gradients_that_are_not_an_examples_own_are_found_by_measuring() -> None:
    assert refusal(MLP(4, 3, dropout=0.5)) == ""
    assert "depends on the others" in refusal(MLP(4, 3), class_weights=[1.0, 2.0, 5.0])
    assert "`layer.weight` has no gradient" in refusal(Places())


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_of_convolutions_are_right_for_images_whose_channels_lie_side_by_side(channels: int) -> None:
    net = CNN(channels, 3, widths=(4, 6), convolutions=1, norm=None)
    assert refusal(net, torch.randn(5, 8, 8, channels).permute(0, 3, 1, 2)) == ""


# Whole runs


def test_a_run_stops_at_its_budget_and_its_key_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[bytes] = []
    monkeypatch.setattr("secrets.token_bytes", lambda size: keys.append(os.urandom(size)) or keys[-1])
    options = (*DP, "privacy.noise=2", "privacy.epsilon=1.5", "trainer.max_epochs=50", f"paths.root={tmp_path}")
    result = lantu.run(lantu.compose(*options))
    account = ledger.read(result.run_dir)
    assert account is not None
    assert account["ended"]
    assert 0 < account["steps"] < 50 * 6
    assert (
        account["epsilon"] <= 1.5 < epsilon_of([(2.0, 256 / 1438, account["steps"] + 2)], delta=1e-5, accountant="rdp")
    )
    assert result.metrics["privacy/epsilon"] == pytest.approx(account["epsilon"])
    files = [each for each in tmp_path.rglob("*") if each.is_file()]
    assert len(files) > 5
    (key,) = keys
    for file in files:
        content = file.read_bytes()
        assert key not in content, file
        assert key.hex().encode() not in content, file


@pytest.mark.slow
def test_a_private_run_that_is_killed_and_resumed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    options = (*DP, "trainer.max_epochs=3")
    for name in ("whole", "killed"):  # the same secret, which no option can give
        (tmp_path / name / "run").mkdir(parents=True)
        (tmp_path / name / "run" / "privacy.key").write_text(KEY.hex())
    assert children(run, tmp_path / "whole", options) == 0
    assert children(run_until, tmp_path / "killed", options, (9, "on_train_batch_end")) == -signal.SIGKILL
    assert children(run, tmp_path / "killed", options) == 0
    check_same(tmp_path / "whole", tmp_path / "killed")
    whole, killed = (ledger.read(tmp_path / name / "run") for name in ("whole", "killed"))
    assert whole == killed
    assert whole is not None
    assert whole["steps"] == 18


def test_a_killed_run_does_not_go_on_without_its_key(tmp_path: Path) -> None:
    from lantu.responsible.privacy import DifferentialPrivacy

    ledger.write(tmp_path, {"ended": False})
    private = DifferentialPrivacy(epsilon=1, key=tmp_path / "privacy.key")
    with pytest.raises(UserError, match="privacy that nobody counts"):
        private._key(tmp_path, resumes=True)
    assert not (tmp_path / "privacy.key").exists()


# The attack


def test_the_attack_finds_members_where_scores_tell_and_guesses_where_they_do_not() -> None:
    random = np.random.default_rng(0)
    member = np.zeros((16, 400), dtype=bool)
    for pair in range(0, 16, 2):
        member[pair] = random.random(400) < 0.5
        member[pair + 1] = ~member[pair]
    difficulty = random.normal(0, 3, 400)
    leaking = difficulty + 2 * member + random.normal(size=member.shape)
    private = difficulty + random.normal(size=member.shape)
    found, nothing = (judge(lira(scores, member), member) for scores in (leaking, private))
    assert found.auc > 0.85  # two Gaussians two deviations apart: 0.92, known difficulty
    assert found.tpr > 0.2
    assert 0.5 < found.epsilon < 6
    assert abs(nothing.auc - 0.5) < 0.03
    assert nothing.epsilon < 0.3
    assert scaled_confidence(np.array([[0.9, 0.1]]), np.array([0]))[0] == pytest.approx(np.log(9))
