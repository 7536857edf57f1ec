import time

import pytest
import yaml

from lantu.redaction import is_secret, redact, redact_tree


@pytest.mark.parametrize(
    "text",
    [
        "http://me:hunter2@host:5000",
        "postgresql+psycopg2://me:hunter2@host/db",
        "https://host/path?token=hunter2&x=1",
        "python train.py --password hunter2 data=digits",
        "python train.py db.password=hunter2 data=digits",
        'api_key: "hunter2"',
        "+    client = Client(secret='hunter2')",
        "AWS_SECRET_ACCESS_KEY=hunter2",
        '{"hub_token": "hunter2"}',
        "Authorization: Bearer hunter2hunter2",
        "PA\u017f\u017fWORD=hunter2",
        "https://host/path?sig=hunter2",
    ],
)
def test_a_credential_in_a_text_is_hidden(text: str) -> None:
    assert "hunter2" not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/path",
        "git@github.com:team/repo",
        "python train.py data=digits optimizer.lr=0.1",
        "pad_token: '<pad>'",
        "max_tokens: 1000",
        "token = next(tokens)",
        "api_key: null",
        "sigma=0.3 signature=x",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text


def test_the_value_of_a_secret_environment_variable_is_hidden_wherever_it_turns_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_SERVICE_PASSWORD", "correct horse")
    assert redact("answered: correct horse battery") == "answered: REDACTED battery"


def test_a_value_whose_name_says_so_is_hidden_altogether() -> None:
    assert redact_tree({"db.password": "x"}) == {"db.password": "REDACTED"}
    assert redact_tree({"db.password": "None"}) == {"db.password": "None"}
    assert redact_tree({"db": {"hf_token": "x", "hosts": ["http://a:b@c"]}}) == {
        "db": {"hf_token": "REDACTED", "hosts": ["http://a:REDACTED@c"]}
    }
    assert not is_secret("model.pad_token")


def test_a_redacted_config_still_parses() -> None:
    text = "db:\n  password: hunter2\n  api_key: 'a b'\n  uri: http://me:pw@host\n"
    assert yaml.safe_load(redact(text)) == {
        "db": {"password": "REDACTED", "api_key": "REDACTED", "uri": "http://me:REDACTED@host"}
    }


@pytest.mark.parametrize("text", ["z" * 500_000, "password " * 50_000, "secret= " * 50_000, "://" + "a" * 500_000])
def test_redaction_takes_time_in_proportion_to_the_text(text: str) -> None:
    begun = time.perf_counter()
    redact(text)
    assert time.perf_counter() - begun < 5
