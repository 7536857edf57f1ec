"""`lantu serve` answers what `lantu predict` answers, within its limits, and says nothing of what it was asked."""

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import pyarrow as pa
import pytest
import torch

import lantu
from lantu.config.build import build
from lantu.config.composing import compose
from lantu.data.table.column import Column
from lantu.errors import UserError
from lantu.inference.predict import predict
from lantu.inference.rebuild import rebuild
from lantu.monitoring.monitor_command import judge, one_file
from lantu.notices import collected, warn_once
from lantu.serving.serve_command import allowed_hosts, check_address, make_server
from tests.conftest import SHORT
from tests.serving.test_export import TRAINER

pytest.importorskip("multipart", reason="needs the extra `serve`")
from starlette.testclient import TestClient

from lantu.serving.http.app import build_app
from lantu.serving.http.request_sample import RequestSample

PART_OF_A_FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n'
QUIET = ["++callbacks.figures=null", "test=false", "save_model=false"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def table(root: Path, own_data: dict[str, list[str]]) -> lantu.Result:
    options = [*SHORT, *QUIET, *own_data["csv"]]
    return lantu.run(lantu.compose(f"paths.root={root}/table", "data=csv", "model=mlp", *options))


@pytest.fixture(scope="module")
def people(own_data: dict[str, list[str]]) -> pd.DataFrame:
    return pd.read_csv(own_data["csv"][0].partition("=")[2]).drop(columns="repaid")


def served(result: lantu.Result, *overrides: str, token: str | None = None) -> Any:
    cfg = compose(f"run={result.best_checkpoint}", *overrides, command="serve").cfg
    return build_app(make_server(cfg, token))


def reached(app: Any, host: str = "localhost:8000") -> TestClient:
    return TestClient(app, base_url=f"http://{host}")


@pytest.fixture(scope="module")
def client(table: lantu.Result) -> Iterator[TestClient]:
    with reached(served(table)) as client:
        yield client


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(frame.to_json(orient="records"))


def test_a_row_is_answered_with_the_bits_that_predict_gives_for_a_file_of_that_row(
    table: lantu.Result, client: TestClient, people: pd.DataFrame, tmp_path: Path
) -> None:
    rebuilt, trainer = rebuild(table.best_checkpoint), build(TRAINER)
    for number in (0, 3, 17):  # the income of rows 0 and 17 is missing
        people.iloc[[number]].to_csv(tmp_path / "row.csv", index=False)
        (expected,) = records(predict(rebuilt, trainer, tmp_path / "row.csv").drop(columns=list(people)))
        (found,) = client.post("/predict", json={"inputs": records(people.iloc[[number]])}).json()["predictions"]
        assert found["prediction"] == expected["prediction"]
        assert torch.tensor(found["probability_yes"]).float() == torch.tensor(expected["probability_yes"]).float()


def test_a_value_that_counts_as_missing_or_did_not_occur_is_said_with_the_answer(
    client: TestClient, people: pd.DataFrame
) -> None:
    good, bad = records(people.iloc[[3, 3]])
    number = next(name for name, kind in people.dtypes.items() if kind.kind in "fi")
    word = next(name for name, kind in people.dtypes.items() if kind.kind not in "fi")
    bad |= {number: "plenty", word: "never seen"}
    first, second = client.post("/predict", json={"inputs": [good, bad]}).json()["predictions"]
    assert "warnings" not in first
    assert second["warnings"] == [
        said
        for name in people
        for said in {
            number: [f"`{number}`: 'plenty' is no number; taken as missing"],
            word: [f"`{word}`: 'never seen' did not occur in training"],
        }.get(name, [])
    ]


def test_rows_come_and_go_as_arrow_with_the_answers_that_json_gets(client: TestClient, people: pd.DataFrame) -> None:
    rows = people.head(20)
    expected = client.post("/predict", json={"inputs": records(rows)}).json()
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pandas(rows, preserve_index=False)
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    kind = "application/vnd.apache.arrow.stream"
    body, headers = bytes(sink.getvalue()), {"content-type": kind}
    reply = client.post("/predict", content=body, headers={**headers, "accept": kind})
    found = pa.ipc.open_stream(reply.content).read_all()
    assert found.to_pylist() == expected["predictions"]
    assert found.schema.metadata[b"model"].decode() == expected["model"]
    assert client.post("/predict", content=body, headers=headers).json() == expected
    torn = client.post("/predict", content=body[:100], headers=headers)
    assert (torn.status_code, "no Arrow stream" in torn.json()["error"]["message"]) == (400, True)


def test_many_clients_at_once_each_get_the_answer_to_their_own_question(
    client: TestClient, people: pd.DataFrame
) -> None:
    rows = records(people)[:60]
    alone = [client.post("/predict", json=row).json()["predictions"][0]["probability"] for row in rows]
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda row: client.post("/invocations", json={"dataframe_records": [row]}), rows))
    assert {reply.status_code for reply in replies} == {200}
    together = [reply.json()["predictions"][0]["probability"] for reply in replies]
    torch.testing.assert_close(torch.tensor(together), torch.tensor(alone), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "is no JSON"),
        (b'{"inputs": []}', 422, "holds no inputs"),
        (b'{"inputs": [1]}', 422, "a list of objects"),
        (b'{"inputs": [{"age": 3}]}', 422, "lacks the columns income, home"),
        (b'{"inputs": [{"age": [3], "income": 1, "home": "own"}]}', 422, "`age` is a list"),
        (json.dumps({"inputs": [{"age": 3}] * 1001}).encode(), 413, "takes 1,000 at once"),
        (b'{"inputs": "' + b"a" * 300_000 + b'"}', 413, "larger than 200,000 bytes"),
        (
            b'{"inputs": [{"age": 3, "age": 70, "income": 1, "home": "own"}]}',
            400,
            "the key 'age' stands more than once",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_sentence(
    table: lantu.Result, body: bytes, status: int, said: str
) -> None:
    with reached(served(table, "max_bytes=200000", "log=false")) as client:
        reply = client.post("/predict", content=body, headers={"content-type": "application/json"})
        assert (reply.status_code, said in reply.json()["error"]["message"]) == (status, True), reply.text


@pytest.mark.parametrize(
    ("kind", "body", "status", "said"),
    [
        ("multipart/form-data", b"abc", 400, "the form cannot be read: Missing boundary"),
        ("multipart/form-data; boundary=b", PART_OF_A_FORM * 1001 + b"--b--", 400, "Too many files"),
        ("image/png", b"\x89PNG", 422, "takes rows of a table and no files"),
        ("multipart/form-data; boundary=b", PART_OF_A_FORM + b"--b--", 422, "takes rows of a table and no files"),
    ],
    ids=["no boundary", "many files", "a picture", "a file"],
)
def test_forms_and_files_that_a_table_has_no_use_for_are_refused_with_a_sentence(
    client: TestClient, kind: str, body: bytes, status: int, said: str
) -> None:
    reply = client.post("/predict", content=body, headers={"content-type": kind})
    assert (reply.status_code, said in reply.json()["error"]["message"]) == (status, True)


@pytest.mark.parametrize(
    ("age", "said"), [("9" * 400, "is no number"), ("-1e300", "further from the training values than a number counts")]
)
def test_a_number_that_no_model_was_trained_for_is_answered_with_a_warning(
    client: TestClient, age: str, said: str
) -> None:
    body = f'{{"inputs": [{{"age": {age}, "income": 1, "home": "own"}}]}}'
    reply = client.post("/predict", content=body)
    assert reply.status_code == 200
    assert said in reply.json()["predictions"][0]["warnings"][0]


def test_an_error_of_the_model_is_logged_by_its_place_without_the_words_that_quote_an_input(
    table: lantu.Result, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("could not convert 'Jane Doe, 12 Elm Street'")

    with reached(served(table)) as own:
        monkeypatch.setattr("lantu.serving.http.served.ServedModel.answer", fail)
        reply = own.post("/predict", json={"inputs": [{"age": 3, "income": 1, "home": "own"}]})
    assert (reply.status_code, "ValueError" in reply.text, "Jane" in reply.text) == (500, True, False)
    said = capfd.readouterr().err
    assert "Jane" not in said
    assert re.search(r'"event": "error".*"at": \[.*batching.py:\d+ _answers.*fail"\]', said)


def test_other_machines_need_a_token_and_the_token_is_checked(table: lantu.Result, people: pd.DataFrame) -> None:
    check_address("127.0.0.1", None)
    check_address("::1", None)
    with pytest.raises(UserError, match="LANTU_SERVE_TOKEN"):
        check_address("0.0.0.0", None)
    with reached(served(table, token="secret")) as client:
        body = {"inputs": records(people.head(1))}
        assert client.get("/health").status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.post("/predict", json=body).status_code == 401
        assert client.post("/predict", json=body, headers={"authorization": "Bearer wrong"}).status_code == 401
        assert client.post("/predict", json=body, headers={"authorization": "Bearer secret"}).status_code == 200


def test_a_name_that_is_not_the_servers_is_refused_so_that_no_web_page_can_rebind_its_own(table: lantu.Result) -> None:
    for host, status in {
        "localhost:8000": 200, "127.0.0.1": 200, "[::1]:8000": 200, "evil.example:8000": 421, "evil.example": 421,
        "127.0.0.1.evil.example": 421,
    }.items():  # fmt: skip
        with reached(served(table, "log=false"), host) as client:
            assert client.get("/").status_code == client.get("/health").status_code == status, host
    with reached(served(table, "hosts=[models.example]", "log=false"), "models.example") as client:
        assert client.get("/ready").status_code == 200
    assert allowed_hosts("0.0.0.0", []) is None


def test_metrics_count_requests_and_the_log_holds_nothing_of_the_inputs(
    table: lantu.Result, capfd: pytest.CaptureFixture[str]
) -> None:
    with reached(served(table)) as client:
        began = time.perf_counter()
        client.post("/predict", json={"age": 31, "income": 7654321, "home": "rent"})
        client.post("/predict", json={"age": 31, "name": "Ada Lovelace"})
        elapsed = time.perf_counter() - began
        metrics = client.get("/metrics").text
    assert re.search(r'^lantu_model_info{name="[^"]+",version="[^"]*"} 1\.0$', metrics, re.M)
    (seconds,) = re.findall(r'^lantu_request_seconds_sum{path="/predict"} (\S+)$', metrics, re.M)
    assert 0 < float(seconds) < elapsed
    assert 'lantu_requests_total{path="/predict",status="200"} 1.0' in metrics
    assert 'lantu_requests_total{path="/predict",status="422"} 1.0' in metrics
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert [each["status"] for each in logged if each["event"] == "request"] == [200, 422, 200]
    assert "7654321" not in str(logged)
    assert "Ada" not in str(logged)


def test_the_description_names_the_columns_of_requests_and_answers(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    assert list(schemas["Row"]["properties"]) == ["age", "income", "home"]
    assert "probability_yes" in schemas["Prediction"]["properties"]
    assert "/predict" in described["paths"]


def test_a_server_at_its_limit_says_so_and_a_slow_answer_is_given_up(table: lantu.Result, people: pd.DataFrame) -> None:
    row = records(people.head(1))[0]
    with reached(served(table, "max_waiting=0")) as client:
        reply = client.post("/predict", json=row)
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
    with reached(served(table, "timeout=1e-9")) as client:
        assert client.post("/predict", json=row).status_code == 504


def test_pictures_are_answered_as_predict_answers_a_folder_of_them(
    root: Path, own_data: dict[str, list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = [*SHORT, *QUIET, *own_data["image_folder"]]
    result = lantu.run(lantu.compose(f"paths.root={root}/pictures", "data=image_folder", "model=linear", *options))
    photos = sorted(Path(own_data["image_folder"][0].partition("=")[2]).rglob("*.png"))[:3]
    for photo in photos:
        shutil.copy(photo, tmp_path)
    expected = predict(rebuild(result.best_checkpoint), build(TRAINER), tmp_path)
    files = [("file", (each.name, each.read_bytes())) for each in sorted(tmp_path.iterdir())]
    with reached(served(result)) as client:
        reply = client.post("/predict", files=[*files, ("file", ("torn.png", b"\x89PNG torn"))]).json()["predictions"]
        alone = client.post("/predict", content=files[0][1][1], headers={"content-type": "image/png"}).json()
        torn = client.post("/predict", content=b"\x89PNG torn", headers={"content-type": "image/png"})
        named = client.post("/predict", json={"inputs": [{"image": "/etc/passwd"}]})
    assert (torn.status_code, named.status_code) == (422, 422)
    assert torn.json()["error"]["message"] == "no picture can be read: 000000.png (no picture in a known format)."
    assert "sent as files" in named.json()["error"]["message"]
    assert "lantu-request" not in capfd.readouterr().err
    assert [each["prediction"] for each in reply[:3]] == expected["prediction"].tolist()
    assert "unreadable" in reply[3]
    assert alone["predictions"][0]["prediction"] == expected["prediction"][0]


def test_rows_of_texts_are_checked_and_what_is_said_of_them_goes_to_the_client_alone(
    root: Path, own_data: dict[str, list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    options = [*SHORT, *QUIET, *own_data["text_table"]]
    result = lantu.run(lantu.compose(f"paths.root={root}/texts", "data=text_table", "model=fasttext", *options))
    with reached(served(result)) as client:
        for rows, said in (
            ([{"text": ["good"]}], "`text` is a list"),
            ([{"text": "good"}, {"x": 1}], "Row 1 lacks the column text"),
        ):
            reply = client.post("/predict", json={"inputs": rows})
            assert (reply.status_code, said in reply.json()["error"]["message"]) == (422, True)
        assert client.post("/predict", json={"inputs": [{"text": "good"}, {"text": 3}]}).status_code == 200
    with collected() as sentences:
        warn_once("`home`: 'Jane Doe' did not occur")
    assert sentences == ["`home`: 'Jane Doe' did not occur"]
    assert "Jane" not in capfd.readouterr().err


@pytest.fixture(scope="module")
def text(root: Path, own_data: dict[str, list[str]]) -> lantu.Result:
    options = [*SHORT, *QUIET, *own_data["text_files"], "data.context=16"]
    return lantu.run(
        lantu.compose(f"paths.root={root}/text", "data=text_files", "model=gpt", "model.width=16", *options)
    )


def events_of(reply: Any) -> list[Any]:
    """The events of a streamed answer, the last of which says [DONE]."""
    found = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
    assert found.pop() == "[DONE]"
    return [json.loads(each) for each in found]


def test_a_language_model_speaks_openais_protocol_and_streams(text: lantu.Result) -> None:
    rebuilt = rebuild(text.best_checkpoint)
    task: Any = rebuilt.task
    expected = task.generate_text(rebuilt.data.encode, rebuilt.data.decode, prompt="The ", tokens=20, temperature=0)[4:]
    ask = {"prompt": "The ", "max_tokens": 20, "temperature": 0}
    messages = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "The "}]}
    with reached(served(text)) as client:
        whole = client.post("/v1/completions", json=ask).json()
        streamed = events_of(client.post("/v1/completions", json={**ask, "stream": True}))
        chat = client.post("/v1/chat/completions", json={**ask, **messages}).json()
        counted = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = events_of(client.post("/v1/chat/completions", json={**ask, **messages, **counted}))
        empty = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": ""}]})
        params = {"tokens": 20, "temperature": 0}
        plain = client.post("/predict", json={"inputs": [{"prompt": "The "}], "params": params})
        listed = client.get("/v1/models").json()["data"]
    assert whole["choices"][0]["text"] == expected
    assert whole["usage"] == {"prompt_tokens": 4, "completion_tokens": 20, "total_tokens": 24}
    assert streamed[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "length"
    assert "".join(each["choices"][0]["text"] for each in streamed) == expected
    assert chat["choices"][0]["message"] == {"role": "assistant", "content": expected}
    assert "1 of 2 messages were not read" in chat["warnings"][0]
    assert empty.status_code == 422
    assert "no text" in empty.text
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(each["choices"][0]["delta"]["content"] for each in chunks[:-1]) == expected
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], 20)
    assert plain.json()["predictions"] == [{"text": "The " + expected}]
    assert listed[0]["id"] == whole["model"]


def test_texts_of_many_requests_are_written_together_and_each_is_what_it_is_alone(text: lantu.Result) -> None:
    prompt = "The quick brown fox jumps over the dog."
    asked: list[dict[str, Any]] = [
        {"prompt": prompt[: 2 + 3 * number], "max_tokens": 40 - 3 * number, "seed": 5} for number in range(10)
    ]
    with reached(served(text, "max_texts=4")) as client:
        alone = [client.post("/v1/completions", json=each).json()["choices"][0]["text"] for each in asked]
        with ThreadPoolExecutor(10) as pool:
            replies = list(pool.map(lambda each: client.post("/v1/completions", json=each).json(), asked))
        metrics = client.get("/metrics").text
        several = client.post("/v1/completions", json={**asked[3], "prompt": [each["prompt"] for each in asked[3:5]]})
    assert [each["choices"][0]["text"] for each in replies] == alone
    assert several.json()["choices"][0]["text"] == alone[3]
    assert [each["index"] for each in several.json()["choices"]] == [0, 1]
    steps = float(next(line for line in metrics.splitlines() if line.startswith("lantu_batch_rows_count")).split()[1])
    tokens = 2 * sum(int(each["max_tokens"]) for each in asked)
    assert steps < 0.9 * tokens  # of the second half, several tokens a step


@pytest.mark.parametrize(
    ("changed", "status", "said"),
    [
        ({"temperature": -1}, 422, "temperature"),
        ({"model": "gpt-4"}, 404, "`gpt-4` is not served here"),
        ({"logprobs": 3}, 422, "`logprobs` is an option that this server does not have"),
        ({"max_tokens": 0}, 422, "max_tokens"),
        ({"n": 17}, 422, "17"),
        ({"stop": [""]}, 422, "stop"),
        ({"stop": 3}, 422, "stop"),
        ({"seed": "x"}, 422, "seed"),
        ({"prompt": ""}, 422, "prompt"),
    ],
)
def test_what_a_language_model_cannot_do_is_refused_with_a_sentence(
    text: lantu.Result, changed: dict[str, Any], status: int, said: str
) -> None:
    with reached(served(text, "log=false")) as client:
        for stream in (False, True):
            reply = client.post("/v1/completions", json={"prompt": "The ", "stream": stream, **changed})
            assert (reply.status_code, said in reply.json()["error"]["message"]) == (status, True), reply.text
        endless = {"inputs": [{"prompt": "The "}], "params": {"tokens": 10**9}}
        assert "params.tokens" in client.post("/predict", json=endless).json()["error"]["message"]


def test_texts_that_wait_are_bounded_and_one_that_is_given_up_frees_its_place(text: lantu.Result) -> None:
    ask = {"prompt": "The ", "max_tokens": 4000}
    with reached(served(text, "max_waiting=0", "log=false")) as client:
        assert client.post("/v1/completions", json=ask).status_code == 503
        assert client.post("/predict", json={"inputs": [{"prompt": "The "}]}).status_code == 503
    with reached(served(text, "max_texts=1", "timeout=0.5", "log=false")) as client:
        assert client.post("/v1/completions", json=ask).status_code == 504
        assert client.post("/v1/completions", json={**ask, "max_tokens": 2}).status_code == 200


def shown_by_chromium(app: Any, query: dict[str, Any]) -> str:
    """What the page at / of a running server has become some seconds after it was opened with a query."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium, which is not installed")
    import uvicorn

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/?{urlencode(query)}"
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--dump-dom", url]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
    server.should_exit = True
    thread.join(timeout=20)
    assert not thread.is_alive()
    return shown


@pytest.mark.slow
def test_the_page_shows_an_answer_in_a_browser(table: lantu.Result) -> None:
    shown = shown_by_chromium(served(table, "log=false"), {"age": 31, "income": 2500, "home": "rent"})
    assert 'id="f0" data-name="age"' in shown
    assert '<th scope="row">probability_yes</th>' in shown


@pytest.mark.slow
def test_the_page_of_a_language_model_writes_token_by_token_in_a_browser(text: lantu.Result) -> None:
    shown = shown_by_chromium(served(text, "log=false"), {"prompt": "The quick"})
    found = re.search(r'<p class="muted">The quick</p><pre>(.*)</pre></div></main>', shown, re.DOTALL)
    assert found
    assert found[1]  # of a text that is still being written when the browser stops


def test_a_sample_of_the_requests_is_judged_by_the_monitor_and_holds_no_free_text(
    table: lantu.Result, people: pd.DataFrame, tmp_path: Path
) -> None:
    rebuilt = rebuild(table.best_checkpoint)
    keep = ["sample=1.0", f"sample_folder={tmp_path}/kept", "redact=[income]", "log=false"]
    strange = {"age": "Ada Lovelace", "income": 7654321, "home": "ada@example.org", "comment": "call me"}
    with reached(served(table, *keep)) as client:
        for at in range(0, 200, 50):
            client.post("/predict", json={"inputs": records(people.iloc[at : at + 50])})
        assert client.post("/predict", json=strange).status_code == 200
    (file,) = (tmp_path / "kept").iterdir()
    kept = pd.read_parquet(file)
    assert len(kept) == 201
    assert kept.iloc[-1].isna().tolist() == [True, True, False]
    assert kept["home"].iloc[-1] == "(other)"
    assert kept["income"].isna().all()
    assert kept["age"].head(200).astype(int).tolist() == people["age"].tolist()
    assert b"Ada" not in file.read_bytes()
    options = {"alpha": 0.05, "least": 0.1, "reference": None}
    folder = one_file(tmp_path / "kept", tmp_path / "one")
    clean = judge(rebuilt, build(TRAINER), table.run_dir, new=folder, **options)
    assert clean.drifted == []
    assert {each.column for each in clean.findings} == {"age", "home"}
    assert "income" in clean.notes[-1]
    kept.assign(age=(kept["age"].astype(float) + 40).astype(str)).to_parquet(tmp_path / "older.parquet")
    later = judge(rebuilt, build(TRAINER), table.run_dir, new=tmp_path / "older.parquet", **options)
    assert any("age" in each for each in later.drifted)


def test_after_a_promotion_requests_are_kept_by_the_columns_of_the_new_model(tmp_path: Path) -> None:
    age = Column("age", "number", "double")
    sample = RequestSample(tmp_path / "kept", [age], share=1.0, redact=["age"])
    sample.add([{"age": 31, "city": "Turin"}])
    sample.use([Column("city", "category", "string", categories=["Turin"]), Column("remark", "text", "string")])
    sample.add([{"age": 31, "city": "Turin", "remark": "call me"}])
    sample.close()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.name.startswith("Thread-"):
            thread.join(10)
    kept = [pd.read_parquet(each) for each in sorted((tmp_path / "kept").iterdir())]
    assert sorted(map(list, kept)) == [["age"], ["city", "remark"]]
    now = next(each for each in kept if "city" in each)
    assert now["city"].tolist() == ["Turin"]
    assert now["remark"].isna().all()
    assert now.attrs["lantu.redacted"] == ["remark"]


@pytest.mark.parametrize("option", ["max_texts=0", "max_batch=0", "timeout=0"])
def test_a_limit_under_which_nothing_could_be_answered_is_refused(table: lantu.Result, option: str) -> None:
    with pytest.raises(UserError, match=f"`{option}"):
        served(table, option)


def test_nothing_of_the_requests_is_kept_unless_it_is_asked_for_and_said_where(table: lantu.Result) -> None:
    with pytest.raises(UserError, match="sample_folder=DIR"):
        served(table, "sample=0.1")
    with pytest.raises(UserError, match="the training table has no column salary"):
        served(table, "sample=0.1", "sample_folder=kept", "redact=[salary]")
