"""`lantu plan`: what a run will take, against published runs and by hand."""

import dataclasses
import io
import json
import re
from contextlib import redirect_stdout

import numpy as np
import pytest
from omegaconf import OmegaConf

from lantu.cli.main import main
from lantu.errors import UserError
from lantu.planning import chinchilla
from lantu.planning.job import examples_read, hours_at_most
from lantu.planning.own_law import forecast_from
from lantu.planning.plan import Fit, Job
from lantu.planning.utilisation import checks, expected, leave_one_out, published_runs
from lantu.units import format_money
from tests.compare.made import Made, uri, write

PEAKS = {"A100": 312e12, "H100": 989.4e12}


def test_utilisation_of_a_published_run_is_told_by_the_others():
    errors = leave_one_out()
    assert len(errors) == len(published_runs())
    assert np.median(errors) < 0.05
    assert np.quantile(errors, 0.9) < 0.15


def test_gpu_hours_of_the_llama_models_are_within_a_fifth_and_the_later_ones_took_longer_than_said():
    found = {each.run: each.error for each in checks(PEAKS)}
    early = [error for run, error in found.items() if run.startswith(("LLaMA", "Llama 2"))]
    assert len(early) == 7
    assert max(map(abs, early)) < 0.2
    assert -0.6 < found["Llama 3.1 8B"] < -0.4  # docs/planning.md says so


def test_an_unknown_device_gets_a_wider_range_that_says_why():
    known = expected("NVIDIA H100", parameters=1e9, context=2048, devices=8)
    unknown = expected("NVIDIA L4", parameters=1e9, context=2048, devices=8)
    assert unknown.high / unknown.low > known.high / known.low
    assert "none was published for this device" in unknown.source


def test_the_compute_optimal_size_has_the_lowest_loss_of_its_budget():
    flops = 5.76e23
    parameters, tokens = chinchilla.optimum(flops)
    assert 6 * parameters * tokens == pytest.approx(flops)
    best = chinchilla.loss(parameters, tokens)
    for factor in (0.8, 1.25):
        assert chinchilla.loss(parameters * factor, tokens / factor) > best
    assert chinchilla.tokens_for(best, parameters) == pytest.approx(tokens)
    assert chinchilla.tokens_for(1.8, parameters) is None  # below what any amount of text gives


@pytest.mark.parametrize(
    ("preset", "vocabulary", "weights"),
    [
        ("1b", 128256, 1_235_814_400), ("7b", 32000, 6_738_415_616), ("8b", 128256, 8_030_261_248),
        ("13b", 32000, 13_015_864_320), ("70b", 128256, 70_553_706_496),
    ],
)  # fmt: skip
def test_presets_have_the_weights_that_their_makers_published(preset, vocabulary, weights):
    from lantu.config.build import build
    from lantu.config.composing import compose
    from lantu.cost.step_memory import count_weights, fake_tensors

    cfg = compose("data=text_files", "data.path=unread", "model=gpt", f"preset={preset}").cfg
    cfg.spec.update(vocab_size=vocabulary, context=64, boundary_id=None)
    with fake_tensors():
        assert count_weights(build(cfg.model)) == weights


def test_a_plan_names_devices_memory_time_money_and_loss(tmp_path, capsys):
    file = tmp_path / "plan.json"
    asked = ["model=gpt", "preset=124m", "data.tokens=2e9", "context=256", "hardware=a100", "trainer.devices=2"]
    assert main(["plan", *asked, f"json={file}"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("NVIDIA A100", "GiB", "$", "kWh", "CO2e", "nats a token", "to train it"))
    figures = json.loads(file.read_text())
    u = figures["utilisation"]
    assert figures["hours"][0] == pytest.approx(figures["flops"] / (2 * 312e12 * u["value"]) / 3600)
    assert figures["usd"][0] == pytest.approx(figures["hours"][0] * 2 * 1.80)
    assert figures["hours"][1] < figures["hours"][0] < figures["hours"][2]


def test_data_at_hand_are_planned_and_an_unknown_speed_is_said_to_be_unknown(capsys, tmp_path):
    assert main(["plan", "data=digits", "model=mlp", f"paths.root={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert "time     not known" in said.replace("\n", " ")
    assert "utilisation=0.3" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model=gpt", "tokens=many"], "must be a number"),
        (["model=gpt", "tokens=-1"], "must be above 0"),
        (["model=gpt", "tokens=1e9", "hardware=h1000"], "no such device"),
        (["model=gpt", "tokens=1e9", "data=digits"], "leave one of them out"),
        (["-m", "model=gpt", "tokens=1e9", "seed=0,1", "json=plan.json"], "leave one of them out"),
        (["model=cnn", "preset=7b"], "is a size for `model=gpt`"),
    ],
)
def test_a_mistake_is_answered_in_a_sentence(arguments, sentence, capsys):
    assert main(["plan", *arguments]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("epochs", "steps", "accumulated", "read"),
    [(3, -1, 1, 3.0), (-1, 50, 1, 5.0), (None, 50, 2, 10.0), (3, 50, 1, 3.0), (3, 10, 1, 1.0)],
)
def test_what_training_reads_follows_epochs_or_steps_whichever_ends_first(epochs, steps, accumulated, read):
    trainer = {"max_epochs": epochs, "max_steps": steps, "accumulate_grad_batches": accumulated}
    cfg = OmegaConf.create({"trainer": trainer, "data": {"batch_size": 10}})
    assert examples_read(cfg, 100) == 100 * read


@pytest.mark.parametrize(
    ("limit", "read"), [(None, 300), (4, 120), (0.5, 150), (1000, 300)],
)  # fmt: skip
def test_what_an_epoch_reads_follows_the_limit_of_its_batches(limit, read):
    trainer = {"max_epochs": 3, "max_steps": -1, "limit_train_batches": limit}
    cfg = OmegaConf.create({"trainer": trainer, "data": {"batch_size": 10}})
    assert examples_read(cfg, 100) == read


@pytest.mark.parametrize(
    ("limit", "hours"),
    [("01:02:30:00", 26.5), ("02:30:00", 2.5), ({"days": 1, "minutes": 30}, 24.5), (None, None)],
)
def test_the_time_limit_is_read_as_lightning_reads_it(limit, hours):
    assert hours_at_most(OmegaConf.create({"trainer": {"max_time": limit}})) == hours


@pytest.fixture(scope="module")
def cut_short(tmp_path_factory):
    """A plan whose `trainer.max_time` ends it: what it prints, and its figures."""
    file = tmp_path_factory.mktemp("plan") / "plan.json"
    size = ["model=gpt", "model.layers=2", "model.width=1024", "tokens=1e12", "context=128"]
    asked = [*size, "hardware=a100", "trainer.devices=8"]
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["plan", *asked, "trainer.max_time=00:00:10:00", "sweep=20", f"json={file}"]) == 0
    return " ".join(out.getvalue().split()), json.loads(file.read_text())


def test_a_time_limit_ends_the_plan_and_its_text_and_its_loss_are_those_until_then(cut_short):
    said, figures = cut_short
    u = figures["utilisation"]
    read = 600 * 8 * 312e12 * u["value"] / (figures["flops"] / 1e12)
    assert figures["hours"] == pytest.approx([1 / 6] * 3)
    assert f"ends it after {read:.3g}" in said
    assert f"{chinchilla.loss(figures['parameters'], read):.2f} nats a token" in said
    assert "trainer.max_time=00:00:10:00" in said.partition("to train it:")[2]


def test_a_sweep_of_so_many_runs_takes_as_often_what_one_takes(cut_short):
    said, figures = cut_short
    sweep = said.partition("a sweep of 20 runs, 8 devices each")[2]
    assert "3.3 h" in sweep
    assert format_money(20 * figures["usd"][0]) in sweep


def test_the_interval_of_the_published_law_is_that_of_a_fit_to_its_runs():
    for size, tokens in ((124e6, 2e9), (70e9, 1.4e12)):
        low, high = chinchilla.interval(size, tokens)
        assert low < chinchilla.loss(size, tokens) < high
    narrow, wide = (np.diff(chinchilla.interval(*each)) for each in ((7e9, 140e9), (70e9, 15e12)))
    assert wide > 2 * narrow  # far beyond the runs it is known less well


@pytest.mark.slow
def test_the_loss_follows_the_law_of_ones_own_runs_or_the_reason_why_not_is_said(tmp_path, capsys):
    def loss(n, d):
        return 0.5 + 20 / n**0.4 + 30 / d**0.5

    runs = [
        Made(
            f"{n} {d}", {"seed": 0, "model.hidden": n, "optimizer.lr": d},
            {"model/parameters": n, "cost/samples": d, "epoch": 0.0}, {"val/loss": [loss(n, d)]},
        )
        for n in (1e3, 1e4, 1e5) for d in (1e3, 1e4, 1e5)
    ]  # fmt: skip
    store = tmp_path / "mlruns"
    store.mkdir()
    write(uri(store), runs, experiment="mine")
    write(uri(store), runs[:2], experiment="two")
    asked = ["plan", "data=digits", "model=mlp", "trainer.max_epochs=1", f"paths.root={tmp_path}"]
    assert main([*asked, "runs=mine"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    weights, images = (
        int(re.search(rf"([\d,]+) {word}", said).group(1).replace(",", "")) for word in ("weights", "examples")
    )
    assert f"val/loss {loss(weights, images):.3g}" in said
    assert "9 runs of your own" in said
    assert main([*asked, "runs=two"]) == 2
    assert "no scaling law can be fitted" in capsys.readouterr().err


@pytest.mark.slow
def test_the_law_of_ones_own_runs_counts_tokens_where_sequences_have_another_length(tmp_path):
    def loss(n, d):
        return 0.5 + 20 / n**0.4 + 30 / d**0.5

    runs = [
        Made(
            f"{n} {d}", {"seed": 0, "model.hidden": n, "optimizer.lr": d, "data.context": 32},
            {"model/parameters": n, "cost/samples": d, "epoch": 0.0}, {"val/loss": [loss(n, d)]},
        )
        for n in (1e3, 1e4, 1e5) for d in (1e3, 1e4, 1e5)
    ]  # fmt: skip
    write(uri(tmp_path), runs, experiment="mine")
    job = Job(
        "GPT", 10_000, 1, examples=2_500, context=128, precision="32-true", memory=None, is_gpt=True,
        repeated_parts=True,
    )  # fmt: skip
    found = forecast_from("mine", tracking_uri=uri(tmp_path), job=job)
    assert found.loss == pytest.approx(loss(1e4, 1e4), rel=0.01)
    longer = [dataclasses.replace(each, params=each.params | {"data.context": 64}) for each in runs[:4]]
    write(uri(tmp_path), [*runs, *longer], experiment="mixed")
    with pytest.raises(UserError, match=r"data\.context"):
        forecast_from("mixed", tracking_uri=uri(tmp_path), job=job)


@pytest.mark.parametrize(("devices", "shape"), [(8, (1, 8)), (12, (2, 6)), (20, (4, 5)), (100, (20, 5))])
def test_the_printed_trainer_has_as_many_devices_as_the_plan(devices, shape):
    said = Fit(devices, sharded=False, checkpointing=False, examples=1, bytes_of_one=1.0).trainer
    nodes, each = shape
    assert f"trainer.devices={each}" in said
    assert nodes == 1 or f"trainer.num_nodes={nodes}" in said


def test_training_without_an_end_cannot_be_planned():
    cfg = OmegaConf.create({"trainer": {"max_epochs": -1, "max_steps": -1}, "data": {"batch_size": 10}})
    with pytest.raises(UserError, match="no end"):
        examples_read(cfg, 100)
