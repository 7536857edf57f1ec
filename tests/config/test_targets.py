"""A config from elsewhere may name only what the user has installed and trusts."""

import pytest
import torch
from omegaconf import OmegaConf

from lantu.config.build import build, check_trusted
from lantu.errors import UserError


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "torch.load",
        "torch.hub.load",
        "torch.nn.modules.module.warnings.warn",
        "lantu.training.provenance.subprocess.run",
        "lantu.config.build.build",
        "timm.models.load_checkpoint",
        "transformers.pipeline",
        "transformers.dynamic_module_utils.get_class_from_dynamic_module",
        "pytorch_lightning.trainer.trainer.os.system",
        "no.such.package",
    ],
)
def test_a_target_outside_the_trusted_packages_is_refused(target: str) -> None:
    with pytest.raises(UserError, match="not a trusted building block"):
        check_trusted({"model": {"net": [{"_target_": target}]}})


def test_what_runs_are_made_of_is_trusted() -> None:
    for target in (
        "lantu.models.CNN",
        "lantu.tasks.Classification",
        "timm.create_model",
        "torch.nn.Linear",
        "transformers.BertConfig",
    ):
        check_trusted({"node": {"_target_": target}})


def test_a_user_can_trust_a_package_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANTU_TRUSTED", "fractions")
    check_trusted({"model": {"_target_": "fractions.Fraction"}})


def test_code_from_a_hub_is_never_run() -> None:
    with pytest.raises(UserError, match="trust_remote_code"):
        check_trusted({"model": {"_target_": "torch.nn.Linear", "trust_remote_code": True}})


def test_a_constructor_that_refuses_its_options_is_quoted() -> None:
    with pytest.raises(UserError, match=r"`torch.nn.Dropout` refuses its options: .*between 0 and 1"):
        build(OmegaConf.create({"_target_": "torch.nn.Dropout", "p": 3.0}))


def test_an_empty_node_builds_nothing() -> None:
    assert build(OmegaConf.create({})) is None
    assert build(None) is None


def test_given_objects_reach_the_constructor() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = build({"_target_": "torch.optim.SGD", "lr": 0.5}, params=[parameter])
    assert optimizer.param_groups[0]["lr"] == 0.5
