"""TabM: members learn apart and answer together."""

import pytest
import torch
from torch.nn import functional as F

from lantu.errors import UserError
from lantu.models import TabM
from lantu.tasks import Classification, Regression


def made(**options: object) -> TabM:
    torch.manual_seed(0)
    return TabM(6, 3, numeric_features=[0, 2], members=4, width=16, dropout=0.0, **options)  # type: ignore[arg-type]


def test_the_answer_for_classes_is_the_mean_of_the_members_probabilities() -> None:
    net, x = made(), torch.randn(5, 6)
    members = net.train()(x)
    assert members.shape == (5, 4, 3)
    together = net.eval()(x)
    assert torch.allclose(together.softmax(dim=-1), members.softmax(dim=-1).mean(dim=1), atol=1e-6)


def test_the_answer_for_numbers_is_the_mean_of_the_members() -> None:
    net, x = made(task="regression"), torch.randn(5, 6)
    assert torch.allclose(net.train()(x).mean(dim=1), net.eval()(x), atol=1e-6)


def test_the_training_loss_is_the_mean_of_the_members_losses() -> None:
    net, x, y = made(), torch.randn(5, 6), torch.tensor([0, 1, 2, 0, 1])
    task = Classification(net.train(), classes=3)
    members = net(x)
    output, loss = task.output_and_loss(x, y, stage="train")
    assert output.shape == (5, 3)
    expected = torch.stack([F.cross_entropy(members[:, each], y) for each in range(4)]).mean()
    assert torch.allclose(loss, expected)  # type: ignore[arg-type]
    numbers = torch.randn(5, 3)
    several = {"target_names": ["a", "b", "c"], "target_mean": [0.0] * 3, "target_std": [1.0] * 3}
    _, loss = Regression(net, **several).output_and_loss(x, numbers, stage="train")  # type: ignore[arg-type]
    assert torch.allclose(loss, ((members - numbers[:, None]) ** 2).mean())  # type: ignore[arg-type]


def test_a_size_that_cannot_be_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"model\.members=0"):
        TabM(6, 3, members=0)
