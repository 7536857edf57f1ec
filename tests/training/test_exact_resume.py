"""A run that is killed at any step and started again ends as the one that was not, bit for bit."""

import json
import math
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port

import lantu
from lantu.data.batches import Examples
from lantu.data.samplers import Chosen
from lantu.training.callbacks.exact_resume import KEY
from lantu.training.callbacks.interruptible import Interruptible
from tests.warm import call_warm

COMMON = (
    "trainer=cpu", "trainer.deterministic=true", "trainer.log_every_n_steps=3", "trainer.enable_progress_bar=false",
    "logger.mlflow.ship=false", "callbacks.figures=null", "callbacks.resume.steps=1", "test=false", "save_model=false",
    "optimizer.lr=0.01",
)  # fmt: skip
TABLES = (
    "data=breast_cancer", "model=mlp", "model.dropout=0.3", "data.batch_size=32", "trainer.accumulate_grad_batches=3",
    "scheduler=plateau", "scheduler.patience=0", "callbacks=[default,early_stopping]",
    "callbacks.early_stopping.patience=2", "trainer.max_epochs=12", "optimizer.lr=0.05",
)  # fmt: skip
IMAGES = (
    "data=digits", "model=cnn", "data.workers=2", "callbacks=[default,ema]", "callbacks.ema.decay=0.9",
    "scheduler=one_cycle", "trainer.max_epochs=2", "trainer.val_check_interval=5", "data.batch_size=128",
)  # fmt: skip
STREAMS = (
    "data=text_files", "data.contiguous=true", "data.context=24", "data.batch_size=8", "model=gru", "model.hidden=16",
    "model.layers=2", "model.embedding=8", "model.dropout=0.2", "trainer.max_steps=40", "trainer.max_epochs=-1",
    "trainer.val_check_interval=4", "trainer.gradient_clip_val=0.5", "scheduler=cosine",
)  # fmt: skip
TEXTS = (
    "data=text_files", "data.context=16", "data.batch_size=16", "data.level=bpe", "data.vocab_size=280",
    "model=bert_mlm", "model.config.hidden_size=16", "model.config.num_hidden_layers=1",
    "model.config.intermediate_size=16", "trainer.max_epochs=3", "trainer.accumulate_grad_batches=2",
)  # fmt: skip
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
MEASURED_BY_THE_CLOCK = ("cost/", "speed/", "preflight/", "system/")
Place = tuple[int, str]
"""How many batches, and the hook of a callback in which the process is killed then."""


def run(folder: Path, overrides: tuple[str, ...]) -> None:
    lantu.run(lantu.compose(f"paths.root={folder}", f"paths.run={folder}/run", "resume=auto", *COMMON, *overrides))


def run_until(folder: Path, overrides: tuple[str, ...], place: Place) -> None:
    batches, hook = place

    def die(callback: Any, trainer: Any, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx >= batches:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(Interruptible, hook, die)
    run(folder, overrides)


def children(target: Any, *arguments: Any, ranks: int = 1) -> int:
    """Run in processes of their own until all have ended or one has failed, which ends the others; its status."""
    world: dict[str, str] = {}
    if ranks > 1:
        port = find_free_network_port()
        world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": str(ranks)}
    processes = [
        call_warm(target, *arguments, **world, **({"LOCAL_RANK": str(rank)} if world else {})) for rank in range(ranks)
    ]
    while None in (statuses := [each.poll() for each in processes]) and not any(statuses):
        time.sleep(0.01)
    for process in processes:
        process.kill()
        process.wait()
    return min(filter(None, statuses), default=0)


def points(folder: Path) -> Counter[tuple[str, int, float]]:
    """Every recorded number that does not depend on the clock."""
    found: Counter[tuple[str, int, float]] = Counter()
    for line in (folder / "run" / "journal" / "records.jsonl").read_text().splitlines():
        record = json.loads(line)
        for name, value in record["values"].items() if record["kind"] == "metrics" else ():
            if not name.startswith(MEASURED_BY_THE_CLOCK):
                assert math.isfinite(float(value))
                found[name, record["step"], float(value)] += 1
    return found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def check_same(whole: Path, killed: Path) -> None:
    last, best = ({each: torch.load(each / "run" / "checkpoints" / name, weights_only=True) for each in (whole, killed)}
                  for name in ("last.ckpt", "best.ckpt"))  # fmt: skip
    for part in ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers", "loops", KEY):
        assert same(last[whole][part], last[killed][part]), part
    for part in ("epoch", "global_step", "state_dict", "optimizer_states"):
        assert same(best[whole][part], best[killed][part]), part
    for name, state in last[whole]["callbacks"].items():
        if name.startswith(("EarlyStopping", "EMA")):
            assert same(state, last[killed]["callbacks"][name]), name
    expected, found = points(whole), points(killed)
    assert found.keys() == expected.keys()
    twice = {point: count for point, count in found.items() if count > expected[point]}
    assert not twice


def kill_and_compare(folder: Path, overrides: tuple[str, ...], places: list[Place], ranks: int = 1) -> None:
    assert children(run, folder / "whole", overrides, ranks=ranks) == 0
    for place in places:
        assert children(run_until, folder / "killed", overrides, place, ranks=ranks) == -signal.SIGKILL
    assert children(run, folder / "killed", overrides, ranks=ranks) == 0
    check_same(folder / "whole", folder / "killed")


def anywhere(batches: int) -> list[Place]:
    """Two places, anew in every session; a failure shows them."""
    hooks = ("on_train_batch_start", "on_train_batch_end", "on_validation_batch_start", "on_train_epoch_end")
    first, second = sorted(random.SystemRandom().sample(range(1, batches), 2))
    return [(first, random.SystemRandom().choice(hooks[:2])), (second, random.SystemRandom().choice(hooks))]


@pytest.fixture
def text(tmp_path: Path) -> str:
    """A text of some hundred lines, as the option that names it."""
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "seven", "wizards", "box"]
    numbers = random.Random(0)
    lines = [" ".join(numbers.choices(words, k=8)) + "." for _ in range(120)]
    (tmp_path / "text.txt").write_text("\n".join(lines))
    return f"data.path={tmp_path}/text.txt"


@pytest.mark.slow
def test_tables_with_accumulation_a_plateau_schedule_and_early_stopping(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, TABLES, anywhere(30))


@pytest.mark.slow
def test_images_with_worker_processes_averaged_weights_and_validation_inside_the_epoch(tmp_path: Path) -> None:
    right_after_a_validation = (6, "on_train_batch_start")
    kill_and_compare(tmp_path, IMAGES, [right_after_a_validation, *anywhere(20)])


@pytest.mark.slow
def test_a_recurrent_network_that_carries_its_state_from_batch_to_batch(tmp_path: Path, text: str) -> None:
    kill_and_compare(tmp_path, (*STREAMS, text), anywhere(35))


@pytest.mark.slow
def test_masked_texts_whose_stretches_begin_at_random_places(tmp_path: Path, text: str) -> None:
    kill_and_compare(tmp_path, (*TEXTS, text), anywhere(25))


@pytest.mark.slow
def test_two_ranks(tmp_path: Path) -> None:
    kill_and_compare(tmp_path, (*TABLES, *TWO), anywhere(25), ranks=2)


def note_batches(folder: Path, overrides: tuple[str, ...], place: Place | None = None) -> None:
    """Train, and write down which examples each training batch is made of."""
    fetch, rank = Examples.__getitems__, os.environ.get("LOCAL_RANK", "0")

    def noted(examples: Examples, indices: list[int]) -> Any:
        if isinstance(indices, Chosen):
            folder.mkdir(exist_ok=True)
            with (folder / f"batches-{rank}.txt").open("a") as file:
                file.write(json.dumps(indices) + "\n")
        return fetch(examples, indices)

    Examples.__getitems__ = noted  # type: ignore[method-assign]
    run_until(folder, overrides, place) if place else run(folder, overrides)


def batches_noted(folder: Path, rank: int = 0) -> list[list[int]]:
    return [json.loads(line) for line in (folder / f"batches-{rank}.txt").read_text().splitlines()]


PLAIN = ("data=breast_cancer", "model=mlp", "data.batch_size=32", "trainer.max_epochs=2")


@pytest.mark.slow
def test_two_ranks_train_on_the_batches_of_one_to_the_same_losses_and_one_goes_on_where_they_were_killed(
    tmp_path: Path,
) -> None:
    assert children(note_batches, tmp_path / "one", PLAIN) == 0
    assert children(note_batches, tmp_path / "two", (*PLAIN, *TWO), ranks=2) == 0
    alone, shares = batches_noted(tmp_path / "one"), [batches_noted(tmp_path / "two", rank) for rank in (0, 1)]
    assert [first + second for first, second in zip(*shares, strict=True)] == alone
    one, two = (sorted(points(tmp_path / name)) for name in ("one", "two"))
    assert [point[:2] for point in two] == [point[:2] for point in one]
    assert [point[2] for point in two] == pytest.approx([point[2] for point in one], rel=1e-4)

    killed = tmp_path / "killed"
    assert children(note_batches, killed, (*PLAIN, *TWO), (7, "on_train_batch_end"), ranks=2) == -signal.SIGKILL
    done = torch.load(killed / "run" / "checkpoints" / "last.ckpt", weights_only=True)[KEY]["batches"]
    assert done > 0
    (killed / "batches-0.txt").unlink()
    assert children(note_batches, killed, PLAIN) == 0
    assert batches_noted(killed) == alone[done:]
    assert [point[2] for point in sorted(points(killed))] == pytest.approx([point[2] for point in one], rel=1e-4)
