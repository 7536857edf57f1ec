"""Slots straight from speech: targets, scores against a loop, noise, and a run from end to end on spoken-like tones."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import lantu
from lantu.cli.main import main
from lantu.data.multimodal.slot_data_module import UNKNOWN, Slot, SlotDataModule, divided
from lantu.inference.rebuild import rebuild
from lantu.inference.voice_assistant import load
from lantu.models import SlotNetwork
from lantu.serving.assistant_app import build_assistant
from lantu.serving.serve_command import listen
from lantu.tasks import SlotFilling
from tests.browser import Browser

RATE = 8000
PREFIXES = ["a little bit of", "a bit of", "some"]
DRINKS = {"tea": 400, "milk": 800, "juice": 1600}
SIZES = {"small": 2600, "large": 3400}


def tone(frequency: float) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * frequency * np.arange(1200) / RATE) * np.hanning(1200)


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Orders of a drink and sometimes a size, each word a tone, in any order."""
    folder = tmp_path_factory.mktemp("orders")
    rng = np.random.default_rng(0)
    lines = ["file_name,intent,drink,size,roast"]
    for number in range(72):
        drink, size = list(DRINKS)[number % 3], ["", *SIZES][number // 3 % 3]
        words = [tone(DRINKS[drink] * rng.uniform(0.97, 1.03))]
        if size:
            words.insert(int(rng.integers(2)), tone(SIZES[size] * rng.uniform(0.97, 1.03)))
        noise = 0.01 * rng.normal(size=4000)
        wave = np.concatenate(words)
        begin = int(rng.integers(len(noise) - len(wave)))
        noise[begin : begin + len(wave)] += wave
        soundfile.write(folder / f"{number}.wav", noise, RATE)
        lines.append(f"{number}.wav,order,{drink},{size},")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


def module(orders: Path, **options: object) -> SlotDataModule:
    data = SlotDataModule(path=str(orders), slots=["drink", "size"], intent="intent", **options)  # type: ignore[arg-type]
    data.prepare_data()
    return data


def test_prefixes_are_learned_apart_and_put_back() -> None:
    longest_first = sorted(PREFIXES, key=len, reverse=True)
    assert divided("a little bit of soy milk", longest_first) == ("a little bit of", "soy milk")
    slot = Slot("milk", ["", "cream", "soy milk"], ["", *sorted(PREFIXES)])
    for text in ("", "cream", "some soy milk", "a little bit of cream"):
        assert slot.decode(slot.encode(text, longest_first)) == text
    assert slot.encode("some oat milk", longest_first) == [UNKNOWN, slot.prefixes.index("some")]


def test_one_intent_is_not_predicted_and_missing_speakers_are_said(orders: Path) -> None:
    data = module(orders)
    assert [slot.name for slot in data.slots] == ["drink", "size"]
    told = "\n".join(data.report.lines())
    assert "every recording has the intent 'order'" in told
    assert "no speakers are named" in told


def test_a_slot_that_training_never_fills_is_said(orders: Path) -> None:
    data = SlotDataModule(path=str(orders), slots=["drink", "roast"])
    data.prepare_data()
    assert [slot.name for slot in data.slots] == ["drink"]
    assert "1 slot that no training recording fills left out: roast" in data.report.lines()


def task(**options: object) -> SlotFilling:
    slots = [
        {"name": "drink", "values": ["", "tea", "milk"], "prefixes": []},
        {"name": "sugar", "values": ["", "sugar"], "prefixes": ["", "some"]},
    ]
    return SlotFilling(torch.nn.Identity(), slots=slots, **options)  # type: ignore[arg-type]


def test_scores_are_those_of_a_loop_over_slots() -> None:
    own = task()
    rng = np.random.default_rng(0)
    output = torch.from_numpy(rng.normal(size=(60, 7)))
    y = torch.from_numpy(np.stack([rng.integers(0, 3, 60), rng.integers(0, 2, 60), rng.integers(0, 2, 60)], axis=1))
    y[0] = torch.tensor([UNKNOWN, 0, 0])  # said, and not in training
    frame = own.to_frame(own.predictions(output), None)  # type: ignore[arg-type]
    hits = predicted = filled = exact = 0
    for row in range(60):
        said = {
            "drink": "?" if y[row, 0] < 0 else ["", "tea", "milk"][y[row, 0]],
            "sugar": "" if y[row, 1] == 0 else ["sugar", "some sugar"][y[row, 2]],
        }
        heard = {name: frame[name][row] for name in said}
        hits += sum(bool(heard[name]) and heard[name] == said[name] for name in said)
        predicted += sum(map(bool, heard.values()))
        filled += sum(map(bool, said.values()))
        exact += heard == said
    own.observe(own.metrics["val_"], output, y)  # type: ignore[arg-type]
    found = own.metrics["val_"].compute()  # type: ignore[operator]
    assert float(found["val/slot_f1"]) == pytest.approx(2 * hits / (predicted + filled))
    assert float(found["val/exact_match"]) == pytest.approx(exact / 60)


def test_the_prefix_of_an_empty_slot_and_unknown_values_teach_nothing() -> None:
    own = task()
    output = torch.randn(1, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    own.loss(output, torch.tensor([[UNKNOWN, 0, 1]]), stage="train").backward()
    assert output.grad is not None
    assert not output.grad[:, :3].any()  # the drink's value is not known
    assert output.grad[:, 3:5].any()  # there is no sugar
    assert not output.grad[:, 5:].any()


def test_noise_has_the_power_that_was_asked_for_and_is_the_same_each_time(orders: Path) -> None:
    data = module(orders)
    clean, noisy = data.splits["test"].x, data.noisy("test", 0)  # type: ignore[attr-defined]
    assert torch.equal(noisy.x, data.noisy("test", 0).x)
    distances = [float((data.noisy("test", level).x - clean).abs().mean()) for level in (40, 20, 0)]
    assert distances[0] < distances[1] < distances[2]
    assert torch.equal(noisy.y, data.splits["test"].y)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def trained(orders: Path, tmp_path_factory: pytest.TempPathFactory) -> lantu.Result:
    root = tmp_path_factory.mktemp("run")
    return lantu.run(lantu.compose(*_typed(orders, root), "trainer.max_epochs=20", "task.noise_levels=[10]"))


def _typed(orders: Path, root: Path) -> list[str]:
    return [
        "data=command_folder", f"data.path={orders}", "data.slots=[drink,size]", "data.mels=24", "data.batch_size=8",
        "data.split={val: 0.2, test: 0.2}", "+data.augment.gain=3", "model=slot_network",
        "model.width=32", "model.layers=1", "model.dropout=0.1", "optimizer.lr=5e-3",
        "trainer.check_val_every_n_epoch=10", "trainer.enable_progress_bar=false",
        "logger.mlflow.ship=false", "++callbacks.figures=null", f"paths.root={root}",
    ]  # fmt: skip


def test_slots_are_understood_and_measured_with_noise_and_latency(
    trained: lantu.Result, orders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained.metrics["test/slot_f1"] > 0.8
    assert main(["evaluate", f"run={trained.run_dir}"]) == 0
    printed = capsys.readouterr().out
    assert "snr_10_db_slot_f1" in printed
    assert "answer_latency_ms" in printed
    row = next(line.split() for line in printed.splitlines() if line.split()[:1] == ["slot_f1"])
    assert float(row[1]) == pytest.approx(trained.metrics["test/slot_f1"], abs=1e-4)


def test_predict_and_a_served_model_fill_the_slots_of_a_recording(
    trained: lantu.Result, orders: Path, tmp_path: Path
) -> None:
    assert main(["predict", f"run={trained.run_dir}", f"input={orders / '4.wav'}", f"output={tmp_path}/a.csv"]) == 0
    answer = pd.read_csv(tmp_path / "a.csv")
    assert (answer["drink"][0], answer["size"][0]) == ("milk", "small")
    served = mlflow.pyfunc.load_model(str(trained.run_dir / "model"))
    again = served.predict(pd.DataFrame({"audio": [(orders / "4.wav").read_bytes()]}))
    assert again["confidence"][0] == pytest.approx(answer["confidence"][0], abs=1e-4)


def test_the_assistant_shows_what_it_understood_how_sure_it_is_and_the_time(
    trained: lantu.Result, orders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["assistant", f"input={orders / '4.wav'}", f"understand={trained.run_dir}"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "understand" in line)
    assert "drink: milk, size: small" in row
    assert 0 <= float(row.split()[-2]) <= 1


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["understand=last"], "input="),
        (["input=WAV"], "needs a model that listens"),
        (["input=WAV", "understand=last", "answer=last"], "add `recognise=RUN`"),
        (["input=WAV", "recognise=last", "speak=last", "output=a.wav"], "nothing to say"),
        (["input=WAV", "understand=last", "speak=last"], "belong together"),
        (["input=WAV", "recogniz=last"], "recognise"),
        (["port=8090", "input=WAV", "understand=last"], "leave one of them out"),
        (["port=http", "understand=last"], "a number from 0 to 65535"),
        (["input=WAV", "recognise=RUN"], "`recognise=` takes a run of task=speech_recognition"),
    ],
)
def test_an_assistant_that_cannot_be_is_refused_in_a_sentence(
    typed: list[str], told: str, trained: lantu.Result, orders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = [each.replace("WAV", str(orders / "4.wav")).replace("RUN", str(trained.run_dir)) for each in typed]
    assert main(["assistant", *typed]) == 2
    assert told in capsys.readouterr().err


def test_the_assistant_chains_recogniser_intent_and_answer(
    own_data: dict[str, list[str]], orders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {}
    for stage, data, model in (
        ("recognise", "speech_folder", "ctc"), ("intent", "text_table", "fasttext"), ("answer", "dialogues", "gpt"),
    ):  # fmt: skip
        typed = [
            f"data={data}",
            f"model={model}",
            *own_data[data],
            "trainer.max_steps=2",
            "test=false",
            "save_model=false",
        ]
        quiet = [
            "test=false",
            "save_model=false",
            "trainer.enable_progress_bar=false",
            "logger.mlflow.ship=false",
            "++callbacks.figures=null",
        ]
        small = {"gpt": ["model.layers=1", "model.width=32"], "ctc": ["model.width=16"]}.get(model, [])
        runs[stage] = lantu.run(lantu.compose(*typed, *quiet, *small, f"paths.root={tmp_path}")).run_dir
    capsys.readouterr()
    assert main(["assistant", f"input={orders / '4.wav'}", *(f"{stage}={run}" for stage, run in runs.items())]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split()[0] for line in lines if line.strip()]
    assert [stage for stage in shown if stage in runs] == list(runs)
    intent = next(line.split() for line in lines if line.split()[:1] == ["intent"])
    assert intent[1] in ("good", "bad")
    assert "not known" in next(line for line in lines if line.split()[:1] == ["answer"])


@pytest.fixture
def address(trained: lantu.Result) -> Iterator[str]:
    """Of the assistant's page, served by uvicorn."""
    import uvicorn

    runs = {"understand": str(trained.run_dir)}
    app = build_assistant(load(runs, store=Path("mlruns")), runs)
    listening = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join(timeout=20)


def test_the_page_answers_stage_by_stage_and_refuses_in_a_sentence(address: str, orders: Path) -> None:
    order = (orders / "4.wav").read_bytes()
    sound = {"Content-Type": "audio/wav"}
    (step,) = httpx.post(f"{address}answer", content=order, headers=sound).text.splitlines()
    assert json.loads(step)["stage"] == "understand"
    assert json.loads(step)["text"] == "drink: milk, size: small"
    broken = httpx.post(f"{address}answer", content=order[:20], headers=sound)
    assert json.loads(broken.text)["error"].startswith("none of the 1 recordings can be read")
    rows = httpx.post(f"{address}answer", json={"inputs": [{"a": 1}]})
    assert (rows.status_code, "send a recording" in rows.json()["error"]) == (422, True)
    assert httpx.get(address, headers={"Host": "evil.example"}).status_code == 400
    elsewhere = {**sound, "Sec-Fetch-Site": "cross-site"}
    assert httpx.post(f"{address}answer", content=order, headers=elsewhere).status_code == 403


@pytest.mark.slow
def test_a_browser_sends_a_file_and_what_its_microphone_hears(address: str, orders: Path, tmp_path: Path) -> None:
    with Browser(tmp_path, microphone=orders / "4.wav") as browser:
        browser.open(address)
        browser.choose_file("#file", orders / "4.wav")
        shown = browser.wait(
            "document.querySelector('#state').textContent && document.querySelector('#rows').innerText"
        )
        assert shown.startswith("understand\tdrink: milk, size: small\t")
        browser.run("rows.replaceChildren(), get('state').textContent = '', record.click()")
        browser.wait("record.getAttribute('aria-pressed') == 'true' && new Promise(r => setTimeout(r, 1500, true))")
        browser.run("record.click()")
        assert browser.wait("rows.innerText").startswith("understand\t")
        assert browser.run("why.textContent") == ""


def test_a_classical_model_beats_the_commonest_values(trained: lantu.Result) -> None:
    rebuilt = rebuild(trained.run_dir / "checkpoints" / "best.ckpt")
    rebuilt.data.prepare_data()
    trivial, classical = type(rebuilt.task).baselines(rebuilt.data)
    assert classical.metrics["test/slot_f1"] > trivial.metrics["test/slot_f1"]


@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_same_weights(orders: Path, tmp_path: Path) -> None:
    typed = [*_typed(orders, tmp_path), "test=false", "save_model=false", "trainer.max_epochs=2"]
    whole = lantu.run(lantu.compose(*typed, "callbacks.resume.steps=1"))
    part = [*typed, "resume=auto", "callbacks.resume.steps=1", f"paths.run={tmp_path}/part"]
    lantu.run(lantu.compose(*part, "trainer.max_steps=7"))
    resumed = lantu.run(lantu.compose(*part))
    ends = [_last(each.run_dir) for each in (whole, resumed)]
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


def _last(run: Path) -> dict[str, torch.Tensor]:
    newest = max((run / "checkpoints").rglob("*.ckpt"), key=lambda file: file.stat().st_mtime)
    return torch.load(newest, weights_only=False)["state_dict"]


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(lantu.UserError, match=r"model\.kernel=4"):
        SlotNetwork(1, 40, [3], kernel=4)
    assert SlotNetwork(1, 24, [3, 2], width=8, layers=1)(torch.randn(2, 1, 24, 50)).shape == (2, 5)
