"""Text is typed as it is: prompts, whatever signs they hold, and ids of runs that look like numbers."""

from pkgutil import resolve_name

import pytest

from lantu import compose
from lantu.cli.main import PLAIN, _typed_text


@pytest.mark.parametrize(
    "text",
    [
        "To be, or not",
        'What\'s that: a "test" (or [two])?',
        "ROMEO:",
        "a = b # c",
        "plain words",
        "你好,世界",
        "an end, \\",
        'one \\" more',
        "<|rus|>Каждый",
        "50% & more!",
    ],
)
def test_a_prompt_reaches_the_model_as_it_was_typed(text: str) -> None:
    assert compose(_typed_text(f"prompt={text}"), command="predict").cfg.prompt == text


@pytest.mark.parametrize("argument", ["prompt=null", 'prompt="a, b"', "prompt='a, b'", "tokens=3,4", "prompt="])
def test_what_is_quoted_or_no_prompt_stays_as_it_is(argument: str) -> None:
    assert _typed_text(argument) == argument


@pytest.mark.parametrize("function", PLAIN.values())
def test_every_command_that_parses_its_own_arguments_has_a_function(function: str) -> None:
    assert callable(resolve_name(function))


@pytest.mark.parametrize("of_a_run", ["12345e678901", "123456789012", "1E5", "1_0", "a1e5", "last"])
def test_the_id_of_a_run_is_no_number(of_a_run: str) -> None:
    assert compose(f"run={of_a_run}", command="evaluate").cfg.run == of_a_run
    assert compose(f"resume={of_a_run}").cfg.resume == of_a_run
