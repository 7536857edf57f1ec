"""What only a GPU can show; run by `pytest -m gpu`, and by scripts/bench/gpu.py."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm.optim
import torch

import lantu
from lantu.errors import Fault
from lantu.models import GPT
from lantu.models.generate import generate
from lantu.optim import parameter_groups
from lantu.optim.muon import Muon
from lantu.training.callbacks.interruptible import Interruptible
from lantu.training.loop.lean_loop import LeanEpochLoop

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU, and this machine shows none"),
]
DEVICE = "cuda"
SHORT = (
    "trainer=gpu", "trainer.enable_progress_bar=false", "logger=none", "save_model=false", "test=false", "data=digits",
)  # fmt: skip
Train = Callable[..., lantu.Result]


@pytest.fixture(autouse=True)
def _any_order_again() -> Iterator[None]:
    """Lightning leaves deterministic algorithms on."""
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("options", [{}, {"positions": "learned"}, {"kv_heads": 1}, {"boundary_id": 3}], ids=str)
def test_steps_as_one_graph_write_what_steps_without_a_cache_write(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = GPT(30, 32, width=32, layers=2, heads=4, **options).to(DEVICE).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(8)  # so that the likeliest token leads by more than rounding
    tokens, lengths = torch.randint(30, (3, 5), device=DEVICE), torch.tensor([5, 2, 4], device=DEVICE)
    written = [
        torch.stack(list(generate(net, tokens, lengths=lengths, new_tokens=60, temperature=0, use_cache=use_cache)))
        for use_cache in (True, False)
    ]
    assert torch.equal(*written)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_network_learns_at_every_precision(train: Train, precision: str) -> None:
    fused = ("optimizer.fused=false", "trainer.gradient_clip_val=1.0") if precision == "16-mixed" else ()
    result = train(*SHORT, "model=cnn", f"trainer.precision={precision}", "trainer.max_epochs=5", *fused)
    assert result.metrics["val/accuracy"] > 0.9
    assert next(result.module.parameters()).dtype == torch.float32


KINDS = {
    "detection_folder": ["model=yolo"],
    "audio_folder": ["model=speech_cnn"],
    "speech_folder": ["model=ctc", "model.width=16"],
    "synthesis_folder": ["model=wavenet", "model.channels=8", "model.skip=12", "task.sample_seconds=0.2"],
    "command_folder": ["model=slot_network", "model.width=16"],
    "image_text": ["model=clip"],
    "multimodal_table": ["model=fusion"],
    "image_folder": ["model=dcgan"],
    "text_table": ["model=gru"],
    "questions": ["model=bert_qa"],
    "dialogues": ["model=gpt", "model.layers=1", "model.width=32"],
    "time_series": ["model=lstm"],
    "csv": ["model=mlp"],
}
"""A model of each kind of data."""


@pytest.mark.parametrize("data", KINDS)
def test_a_run_of_every_kind_is_trained_shown_and_measured(
    data: str, train: Train, own_data: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    whole = ("trainer=gpu", "trainer.enable_progress_bar=false", "logger=none", "save_model=false")
    result = train(*whole, f"data={data}", *own_data[data], *KINDS[data], "trainer.max_epochs=1", pictures=True)
    assert {"val/loss", "test/loss"} <= result.metrics.keys()
    assert "failed with" not in capsys.readouterr().err, "a figure or a sample could not be made"


def test_a_compiled_run_has_the_losses_of_a_plain_one(train: Train) -> None:
    asked = (*SHORT, "model=cnn", "trainer.max_steps=5")
    plain, compiled = (train(*asked, f"compile={on}").metrics for on in ("false", "true"))
    assert compiled["val/loss"] == pytest.approx(plain["val/loss"], rel=1e-3)


def test_channels_last_gives_the_losses_of_plain_images(train: Train) -> None:
    asked = (*SHORT, "model=cnn", "trainer.max_steps=5")
    plain, last = (train(*asked, f"channels_last={on}").metrics for on in ("false", "true"))
    assert last["val/loss"] == pytest.approx(plain["val/loss"], rel=1e-3)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_a_run_that_ends_at_any_step_goes_on_bit_for_bit(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    asked = (
        *SHORT, "model=cnn", "model.dropout=0.3", "trainer.deterministic=true", f"trainer.precision={precision}",
        "trainer.max_epochs=2", "data.batch_size=128", "callbacks.resume.steps=1", "optimizer.fused=false",
        "scheduler=one_cycle",
    )  # fmt: skip

    def end(callback: Any, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 15:
            raise RuntimeError("the machine goes down")

    whole = train(*asked, f"paths.run={tmp_path}/whole")
    with monkeypatch.context() as patch:
        patch.setattr(Interruptible, "on_train_batch_start", end)
        with pytest.raises(RuntimeError, match="goes down"):
            train(*asked, f"paths.run={tmp_path}/cut")
    resumed = train(*asked, f"paths.run={tmp_path}/cut", "resume=auto")
    one, two = (torch.load(tmp_path / run / "checkpoints/last.ckpt", weights_only=True) for run in ("whole", "cut"))
    assert one["global_step"] == two["global_step"] == 24
    for name, weight in one["state_dict"].items():
        assert torch.equal(weight, two["state_dict"][name]), name
    for expected, got in zip(
        one["optimizer_states"][0]["state"].values(), two["optimizer_states"][0]["state"].values(), strict=True
    ):
        assert all(torch.equal(value, got[name]) for name, value in expected.items())
    for name in ("train/loss", "train/loss_epoch", "val/loss", "val/accuracy"):
        assert resumed.metrics[name] == whole.metrics[name], name


@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
def test_one_device_of_many_has_the_losses_of_one_alone(train: Train, trainer: str) -> None:
    asked = ("model=cnn", "trainer.max_steps=6", "trainer.gradient_clip_val=0.5", "trainer.deterministic=true")
    alone = train(*SHORT, *asked).metrics
    found = train(*SHORT, *asked, f"trainer={trainer}", "trainer.accelerator=gpu", "trainer.devices=1").metrics
    for name in ("train/loss", "val/loss"):
        assert found[name] == pytest.approx(alone[name], rel=1e-4), name


@pytest.mark.parametrize("logged_every", [1, 5])
def test_what_is_measured_and_logged_never_makes_the_host_wait(
    train: Train, monkeypatch: pytest.MonkeyPatch, logged_every: int
) -> None:
    step, watched = LeanEpochLoop.advance, []

    def watching(loop: LeanEpochLoop, *args: Any) -> None:
        number = loop.global_step
        # the first steps look for kernels; FiniteLoss reads the loss where it is logged, as it says
        watch = 5 <= number < 20 and (logged_every == 1 or number % logged_every not in (0, logged_every - 1))
        torch.cuda.set_sync_debug_mode("error" if watch else "default")
        try:
            step(loop, *args)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        if watch:
            watched.append(number)

    monkeypatch.setattr(LeanEpochLoop, "advance", watching)
    every = f"trainer.log_every_n_steps={logged_every}"
    finite = ("callbacks.finite_loss=null",) if logged_every == 1 else ()
    record = ("logger=[mlflow]", "logger.mlflow.ship=false")
    train(*SHORT, "model=cnn", "trainer.max_steps=22", "trainer.gradient_clip_val=1.0", every, *record, *finite)
    assert len(watched) >= 9


def test_memory_that_runs_out_is_explained_in_a_sentence(train: Train) -> None:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        with pytest.raises(Fault, match=r"memory ran out at step 0: .*GiB more were asked for.*data.batch_size="):
            train(*SHORT, "model=mlp", "model.hidden=[16384,16384]", "trainer.max_steps=2")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_loss_in_chunks_is_the_plain_one(train: Train, tmp_path: Path, compiled: bool) -> None:
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{number} times {number} is {number**2}.\n" for number in range(2000)))
    asked = (
        "trainer=gpu", "trainer.enable_progress_bar=false", "logger=none", "save_model=false", "test=false",
        "data=text_files", f"data.path={text}", "data.context=64", "data.batch_size=16", "model=gpt2", "model.layers=2",
        "model.width=128", "model.heads=4", "model.dropout=0", "trainer.precision=bf16-mixed", "trainer.max_steps=20",
        "trainer.limit_val_batches=4", "trainer.gradient_clip_val=1.0", f"compile={str(compiled).lower()}",
    )  # fmt: skip
    plain, chunked = (train(*asked, f"task.chunked_loss={on}").metrics for on in ("false", "null"))
    for name in ("train/loss", "val/loss"):
        assert chunked[name] == pytest.approx(plain[name], rel=2e-2), name


def test_muon_in_batches_updates_as_timms_does() -> None:
    found = []
    for make in (partial(Muon, batched=True), timm.optim.Muon):
        torch.manual_seed(0)
        net = GPT(64, 16, width=64, layers=3, heads=4).to(DEVICE)
        optimizer = make(parameter_groups(net), lr=3e-3)
        tokens = torch.randint(64, (8, 16), device=DEVICE)
        for _ in range(3):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(tokens).flatten(0, 1), tokens.flatten()).backward()
            optimizer.step()
        found.append(net.state_dict())
    for name, weight in found[1].items():
        assert (found[0][name] - weight).norm() <= 0.01 * weight.norm(), name
