"""Fixtures that every room's tests share."""

import gc
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import lantu
from lantu.tracking.run_folder import RunFolder
from tests.warm import warm_parts

REPO = Path(__file__).resolve().parent.parent
SHORT = (
    "trainer.max_steps=2",
    "trainer.log_every_n_steps=1",
    "trainer.enable_progress_bar=false",
    "logger.mlflow.ship=false",
)
"""A run of two steps that is recorded but not uploaded."""
SLOW = "mark.slow"
LONGEST = (
    "test_a_cnn_on_fashion_mnist_beats_090_in_two_epochs",
    "test_thirty_two_processes_fill_a_server_over_postgresql",
    "test_the_second_trial_of_a_sweep_trains_as_the_first_in_a_folder_of_its_own",
    "test_shakespeare_fast_reaches_nanogpts_loss",
    "test_ten_sigkills_at_random_moments_lose_nothing",
    "test_a_run_goes_on_with_split_weights_after_whole_copies_and_back",
    "test_six_sigkills_at_random_moments_leave_exactly_the_planned_trials",
    "test_a_rank_that_is_killed_ends_its_trial_in_a_sentence_and_the_sweep_goes_on",
    "test_a_recurrent_network_tells_questions_apart",
    "test_the_wheel_installs_into_an_environment_of_its_own_and_trains",
    "test_a_rank_that_hangs_ends_the_run_in_a_sentence_that_names_it",
)
"""Slow tests of more than a minute and a half, the longest first."""


def pytest_configure() -> None:
    """Let Ctrl-C end commands: tests that were started in the background would hand on that it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import only the files with slow tests where only these run: all files take three times as long to collect."""
    only_slow = config.getoption("markexpr") == "slow" and collection_path.suffix == ".py"
    return True if only_slow and SLOW not in collection_path.read_text() else None


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Collect without the garbage collector, which took a quarter of that time; what was imported stays anyway."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that in the end no process works on alone."""
    for item in items:  # no slow test may be missed by pytest_ignore_collect
        if item.get_closest_marker("slow") and SLOW not in item.path.read_text():
            raise pytest.UsageError(f"{item.nodeid} is slow, so its file has to say pytest.{SLOW}")
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.name, len(LONGEST)))


@pytest.fixture(scope="session", autouse=True)
def parts_of_runs_are_warm() -> None:
    """Start uploaders and ranks from a process that has imported what they need, which takes them seconds."""
    warm_parts()


@pytest.fixture(autouse=True)
def no_server_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever server the user has set, and whatever a test before has: runs go where a test says."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data that were decoded or encoded once, for all tests and all of pytest's workers."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"


@pytest.fixture(autouse=True)
def data_are_prepared_once(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs find data that an earlier test prepared: most data take longer to decode than a short run to train."""
    monkeypatch.setenv("LANTU_CACHE", str(shared_cache))


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The mirror folder with real data; the test skips where there is none."""
    named = os.environ.get("LANTU_MIRROR")
    folder = Path(named) if named else REPO.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs a mirror folder of real data; none at {folder} (set LANTU_MIRROR)")
    return folder


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URI of an empty database on a real server of our own, on a socket in a folder of its own."""
    programs = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"))), None) or shutil.which("initdb")
    if programs is None:
        pytest.skip("needs PostgreSQL's initdb and pg_ctl, which are not installed")
    pytest.importorskip("psycopg2", reason="needs psycopg2 to talk to PostgreSQL")
    as_root = os.geteuid() == 0  # PostgreSQL refuses to run as root
    if as_root and subprocess.run(["id", "postgres"], capture_output=True, check=False).returncode:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    folder = Path(tempfile.mkdtemp(prefix="lantu-pg-"))
    if as_root:
        shutil.chown(folder, "postgres")
    found = Path(programs) if Path(programs).is_dir() else Path(programs).parent

    def command(program: str, *words: str) -> None:
        before = ["runuser", "-u", "postgres", "--"] if as_root else []
        subprocess.run([*before, found / program, *words], check=True, capture_output=True, cwd=folder, timeout=60)

    try:
        command("initdb", "-D", f"{folder}/data", "-U", "lantu", "--auth=trust", "--no-sync")
        options = f"-k {folder} -c listen_addresses='' -c fsync=off -c max_connections=200"
        command("pg_ctl", "-D", f"{folder}/data", "-o", options, "-w", "-l", f"{folder}/log", "start")
        try:
            for name in ("mlflow", "optuna"):  # each numbers its own schema in a table of the same name
                command("createdb", "-h", str(folder), "-U", "lantu", name)
            yield f"postgresql+psycopg2://lantu@/mlflow?host={folder}"
        finally:
            command("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A small file system of its own, with options such as `ro` and `size=1m`."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("needs to mount a tmpfs, which only root may")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Data as a user brings them, by the config that reads them, with the options that it then needs."""
    folder = tmp_path_factory.mktemp("own")
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "age": random.integers(18, 80, 200),
            "income": random.normal(3000, 800, 200).round(2),
            "home": random.choice(["rent", "own", "free"], 200),
        }
    )
    table.loc[::17, "income"] = np.nan
    table["repaid"] = np.where(table["age"] > 40, "yes", "no")
    table.to_csv(folder / "loans.csv", index=False)
    for kind in ("cats", "dogs"):
        (folder / "photos" / kind).mkdir(parents=True)
        for number in range(15):
            pixels = random.integers(0, 255, (20 + number % 3, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / kind / f"{number}.png")
    (folder / "books").mkdir()
    for title in ("one", "two"):
        (folder / "books" / f"{title}.txt").write_text(f"The {title} quick brown fox jumps over the lazy dog. " * 40)
    sentences = [f"{word} film number {number}" for number in range(60) for word in ("good", "bad")]
    reviews = pd.DataFrame({"text": sentences, "label": [each.split()[0] for each in sentences]})
    reviews.to_csv(folder / "reviews.csv", index=False)
    questions = pd.DataFrame(
        [
            {
                "question": f"Who holds the {thing}?",
                "context": f"{who} holds the {thing} number {number}.",
                "answer": who,
            }
            for number in range(30)
            for who, thing in (("Ada", "book"), ("Grace", "key"))
        ]
    )
    questions.to_json(folder / "questions.jsonl", orient="records", lines=True)
    dialogues = questions.assign(question=[f"{each} now {row}" for row, each in enumerate(questions["question"])])
    dialogues[["question", "answer"]].to_csv(folder / "dialogues.csv", index=False)
    squad = questions.assign(answers=[{"text": [each], "answer_start": [0]} for each in questions["answer"]])
    (folder / "rajpurkar" / "squad").mkdir(parents=True)  # in the hub's layout
    for part in ("train", "validation"):
        squad.drop(columns="answer").to_parquet(folder / "rajpurkar" / "squad" / f"{part}.parquet")
    (folder / "cells").mkdir()
    for number in range(20):
        pixels = random.integers(90, 130, (48, 64, 3), dtype=np.uint8)
        pixels[10:30, 12:40] = 250
        Image.fromarray(pixels).save(folder / "cells" / f"{number}.png")
        (folder / "cells" / f"{number}.txt").write_text("0 0.40625 0.416667 0.4375 0.416667\n" if number % 5 else "")
    _write_words(folder / "words")
    steps = np.arange(200)
    season = 10 + np.sin(2 * np.pi * steps / 7) + 0.1 * random.standard_normal(200)
    days = pd.date_range("2021-01-01", periods=200, freq="D")
    pd.DataFrame({"day": days, "sold": season, "price": 2.0}).to_csv(folder / "sales.csv", index=False)
    pd.DataFrame({"file": [f"photos/{kind}/{number}.png" for kind in ("cats", "dogs") for number in range(15)]}).assign(
        kind=["cat"] * 15 + ["dog"] * 15
    ).to_csv(folder / "pictures.csv", index=False)
    with tarfile.open(folder / "photos.tar", "w") as shard:
        for number in range(15):
            for kind in ("cats", "dogs"):
                shard.add(folder / "photos" / kind / f"{number}.png", arcname=f"{kind}/{number}.png")
    described = pd.DataFrame(
        {
            "image": [f"photos/{kind}/{number}.png" for number in range(15) for kind in ("cats", "dogs")],
            "text": [f"the {kind} number {number}" for number in range(15) for kind in ("cat", "dog")],
            "sound": [f"words/{number}.wav" if number % 3 else None for number in range(30)],
            "kind": ["cat", "dog"] * 15,
        }
    )
    described.to_csv(folder / "described.csv", index=False)
    return {
        "command_folder": [f"data.path={folder}/words", "data.slots=[label]"],
        "image_text": [f"data.path={folder}/described.csv", "data.size=16", "data.category=kind"],
        "multimodal_table": [
            f"data.path={folder}/described.csv",
            "data.target=kind",
            "data.image=image",
            "data.text=text",
            "data.audio=sound",
            "data.size=16",
            "data.split={val: 0.2, test: 0.2}",
        ],
        "audio_folder": [f"data.path={folder}/words"],
        "speech_folder": [f"data.path={folder}/words", "data.transcript=label"],
        "synthesis_folder": [f"data.path={folder}/words", "data.transcript=label"],
        "image_table": [f"data.path={folder}/pictures.csv", "data.target=kind"],
        "webdataset": [f"data.path={folder}/photos.tar", "data.workers=0"],
        "detection_folder": [f"data.path={folder}/cells"],
        "questions": [f"data.path={folder}/questions.jsonl"],
        "squad": [f"paths.mirror={folder}"],
        "csv": [f"data.path={folder}/loans.csv", "data.target=repaid"],
        "dialogues": [f"data.path={folder}/dialogues.csv", "data.vocab_size=300", "data.alike=null", "data.context=16"],
        "image_folder": [f"data.path={folder}/photos"],
        "text_files": [f"data.path={folder}/books"],
        "time_series": [f"data.path={folder}/sales.csv", "data.time=day", "data.target=[sold]", "data.context=16"],
        "text_table": [f"data.path={folder}/reviews.csv", "data.target=label"],
    }


def _write_words(folder: Path) -> None:
    """Two "words" as tones, beside a table that names them."""
    import soundfile

    folder.mkdir()
    lines = ["file_name,label"]
    for number in range(40):
        word, frequency = (("low", 300), ("high", 1200))[number % 2]
        wave = 0.5 * np.sin(2 * np.pi * (frequency + 5 * number) * np.arange(2400) / 8000)
        soundfile.write(folder / f"{number}.wav", wave, 8000)
        lines.append(f"{number}.wav,{word}")
    (folder / "metadata.csv").write_text("\n".join(lines))


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., lantu.Result]:
    """Train in this process, with everything under the test's own folder.

    Pictures and the upload to MLflow, which is a process of its own, take longer than a short run: only where asked.
    """

    def run(*overrides: str, pictures: bool = False, upload: bool = False) -> lantu.Result:
        undrawn = () if pictures else ("++callbacks.figures=null",)
        has_loggers = any(each.startswith(("logger", "debug=one_batch")) for each in overrides)
        unsent = () if upload or has_loggers else ("logger.mlflow.ship=false",)
        return lantu.run(lantu.compose(f"paths.root={tmp_path}", *undrawn, *unsent, *overrides))

    return run


@pytest.fixture
def train_shortly(train: Callable[..., lantu.Result]) -> Callable[..., lantu.Result]:
    """Two steps, recorded but not uploaded."""
    return lambda *overrides, **asked: train(*SHORT, *overrides, **asked)


def mlflow_run_of(result: lantu.Result) -> str:
    """The id of a run in MLflow once all of it is there, also where the machine is too busy for the run to wait."""
    folder, deadline = RunFolder(result.run_dir), time.monotonic() + 200
    while not folder.is_uploaded():
        assert time.monotonic() < deadline, folder.log.read_text()
        time.sleep(0.1)
    run_id = folder.upload_progress().run_id
    assert run_id is not None
    return run_id
