"""The `lantu` command; the files under scripts/ call the same code."""

import os
import re
import sys
from collections.abc import Callable
from pkgutil import resolve_name

from lantu.errors import UserError, config_complaint, disk_complaint, store_complaint
from lantu.escaping import for_terminal
from lantu.redaction import redact

COMPOSED = (
    *("train", "evaluate", "predict", "compare", "explain", "card", "monitor"),
    *("export", "serve", "load", "register", "promote", "rollback", "launch"),
)
"""Commands that are configured by Hydra, each with a primary config of the same name."""
PLAIN = {
    "assistant": "lantu.cli.assistant:assistant_main",
    "catalog": "lantu.cli.catalog:catalog_main",
    "data": "lantu.cli.data:data_main",
    "doctor": "lantu.cli.doctor:doctor_main",
    "models": "lantu.cli.models:models_main",
    "plan": "lantu.cli.plan_command:plan_main",
    "runs": "lantu.cli.runs:runs_main",
    "sweeps": "lantu.cli.sweeps:sweeps_main",
    "sync": "lantu.cli.runs:sync_main",
    "ui": "lantu.cli.ui:ui_main",
}
"""Commands that parse their own arguments, each with its function, which is imported when it is called."""


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit status: 0 success, 1 failure, 2 invalid arguments."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        # as with `python -m`, for the user's own packages; last, so that a file there cannot shadow a library
        sys.path.append(os.getcwd())
    argv = list(sys.argv[1:] if argv is None else argv)
    command, arguments = (argv[0], argv[1:]) if argv else ("--help", [])
    try:
        if join := _joining(command):
            return join()
        return _command(command)(arguments)
    except UserError as error:
        _complain(command, str(error))
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # the reader has exited, as in `lantu catalog | head`: prevent another error when stdout is closed at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if (sentence := disk_complaint(error) or config_complaint(error) or store_complaint(error)) is None:
            raise
        _complain(command, sentence)
        return UserError.status
    finally:
        _release_waiting_ranks(command)


def script(command: str) -> int:
    """The entry point of the files under scripts/."""
    return main([command, *sys.argv[1:]])


def _command(name: str) -> Callable[[list[str]], int]:
    if name in ("--help", "-h", "help"):
        from lantu.cli.help import show_overview

        return lambda _: show_overview()
    if name in ("--version", "version"):
        return lambda _: _version()
    if name in COMPOSED:
        return lambda arguments: _composed(name, arguments)
    if name in PLAIN:
        function: Callable[[list[str]], int] = resolve_name(PLAIN[name])
        return function
    from lantu.suggestions import did_you_mean

    known = [*COMPOSED, *PLAIN]
    raise UserError(f"there is no command `{name}`.{did_you_mean(name, known)} There are: {', '.join(known)}.")


def _composed(command: str, arguments: list[str]) -> int:
    """Run a command that Hydra configures; its arguments are checked before heavy imports."""
    if any(each in ("--help", "-h") for each in arguments):
        from lantu.cli.help import show_help

        return show_help(command)
    from lantu.cli.launch import launch

    if command == "compare":
        arguments = ["json=true" if each == "--json" else each for each in arguments]
    return launch(command, [_typed_text(each, TYPED.get(command, ())) for each in _forced(command, arguments)])


_LONG = re.compile(r"(\S{200})\S{100,}")
TYPED = {"predict": ("prompt",), "promote": ("force",), "register": ("force",), "rollback": ("reason",)}
"""Options whose values are free text."""


def _forced(command: str, arguments: list[str]) -> list[str]:
    """Translate `lantu promote --force "why"` to `force=why`."""
    if command not in ("promote", "register") or "--force" not in arguments:
        return arguments
    place = arguments.index("--force")
    reason = arguments[place + 1 : place + 2]
    if not reason or "=" in reason[0].partition(" ")[0]:
        raise UserError('`--force` needs a reason, which is kept: --force "the champion leaks a column".')
    return [*arguments[:place], f"force={reason[0]}", *arguments[place + 2 :]]


def _typed_text(argument: str, options: tuple[str, ...] = ("prompt",)) -> str:
    """Quote free text such as `prompt=What's that, please?`, whose characters have a meaning in a Hydra override."""
    name, _, text = argument.partition("=")
    if name not in options or text[:1] in ("", '"', "'") or re.fullmatch("[A-Za-z0-9_]*", text):
        return argument
    escaped = re.sub(r'(\\+)(?="|$)', r"\1\1", text).replace('"', r"\"")
    return f'{name}="{escaped}"'


def _joining(command: str) -> Callable[[], int] | None:
    """The function that joins a run composed by another process; None if this process composes the config."""
    if "LANTU_RANK_OF" in os.environ:
        from lantu.training.join_local import join

        return join
    if command == "train" and "TORCHELASTIC_RUN_ID" in os.environ and os.environ["RANK"] != "0":
        from lantu.training.join_torchrun import join

        return join
    return None


def _complain(command: str, sentence: str) -> None:
    """Print an error without credentials, endless words, and control characters of the names that it quotes."""
    lines = [for_terminal(_LONG.sub(r"\1...", line)) for line in redact(sentence).split("\n")]
    print(f"lantu {command}: " + "\n".join(lines), file=sys.stderr)


def _release_waiting_ranks(command: str) -> None:
    """Under torchrun, end the other ranks if rank zero exits before it has sent them the config."""
    if command == "train" and "TORCHELASTIC_RUN_ID" in os.environ and os.environ["RANK"] == "0":
        from lantu.training.distributed import torchrun

        torchrun.end_without_a_run()


def _version() -> int:
    from importlib.metadata import version

    print(f"lantu {version('lantu')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
