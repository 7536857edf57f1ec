"""`trainer.precision=auto` is bf16 where the device has it, and a bf16 that is emulated is said."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from lantu.config import precision
from lantu.config.accelerators import Gpus
from lantu.config.precision import choose_precision
from lantu.notices import collected


def chosen(asked: str, accelerator: str = "auto", *, run: Path = Path("none"), resume: str | None = None) -> DictConfig:
    cfg = OmegaConf.create(
        {"trainer": {"precision": asked, "accelerator": accelerator}, "resume": resume, "paths": {"run": str(run)}}
    )
    choose_precision(cfg)
    return cfg


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A Linux machine without a GPU."""
    monkeypatch.setattr(precision.sys, "platform", "linux")
    monkeypatch.setattr(precision, "gpus", lambda: Gpus((), (0, 0)))
    monkeypatch.setattr(precision, "torch_cuda", lambda: "13.0")
    return monkeypatch


@pytest.mark.parametrize(
    ("cpu", "generations", "accelerator", "precision_here", "why"),
    [
        (True, (), "auto", "bf16-mixed", "this processor has bf16"),
        (False, (), "auto", "32-true", "this processor has no bf16"),
        (None, (), "cpu", "32-true", "not known"),
        (False, (9,), "auto", "bf16-mixed", "this GPU has bf16"),
        (True, (9, 7), "gpu", "32-true", "this GPU has no bf16"),
        (False, (9,), "cpu", "32-true", "this processor has no bf16"),
        (True, (), "mps", "32-true", "not known"),
    ],
)
def test_auto_takes_bf16_where_the_device_has_it_and_says_so(
    machine: pytest.MonkeyPatch,
    *,
    cpu: bool | None,
    generations: tuple[int, ...],
    accelerator: str,
    precision_here: str,
    why: str,
) -> None:
    machine.setattr(precision, "cpu_has_bf16", lambda: cpu)
    machine.setattr(precision, "gpus", lambda: Gpus(generations, (13, 0)))
    with collected() as said:
        cfg = chosen("auto", accelerator)
    assert cfg.trainer.precision == precision_here
    assert len(said) == 1
    assert f"`trainer.precision=auto` is {precision_here}" in said[0]
    assert why in said[0]


@pytest.mark.parametrize(
    ("cpu", "asked", "warned"),
    [(False, "bf16-mixed", True), (True, "bf16-mixed", False), (None, "bf16-mixed", False), (False, "32-true", False)],
)
def test_bf16_that_the_processor_emulates_is_said(
    machine: pytest.MonkeyPatch, *, cpu: bool | None, asked: str, warned: bool
) -> None:
    machine.setattr(precision, "cpu_has_bf16", lambda: cpu)
    with collected() as said:
        assert chosen(asked).trainer.precision == asked
    assert bool(said) == warned
    assert all("emulates" in each and "trainer.precision=auto" in each for each in said)


def test_a_resumed_run_keeps_its_precision(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine.setattr(precision, "cpu_has_bf16", lambda: False)
    (tmp_path / "config.yaml").write_text("trainer: {precision: bf16-mixed}")
    assert chosen("auto", run=tmp_path, resume="auto").trainer.precision == "bf16-mixed"
    assert chosen("auto", run=tmp_path).trainer.precision == "32-true"
