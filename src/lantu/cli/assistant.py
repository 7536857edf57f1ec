"""`lantu assistant`: a recording through several trained runs, each stage's answer, confidence and time shown."""

from pathlib import Path

from lantu.errors import UserError
from lantu.extras import require
from lantu.suggestions import did_you_mean

HELP = """\
Answer recordings with trained runs:

  lantu assistant input=FILE.wav STAGE=RUN ...   one recording, in the terminal
  lantu assistant port=8090 STAGE=RUN ...        a page on this machine with a microphone, until Ctrl-C

  understand=RUN    speech straight to slots (experiment=voice_assistant), or what was recognised to slots
  recognise=RUN     speech to text (model=ctc)
  intent=RUN        what was recognised, to a class (data=text_table)
  answer=RUN        what was recognised, to an answer (experiment=customer_service)
  speak=RUN         the answer to speech; with input=, it needs output=FILE.wav
  output=FILE.wav   where the spoken answer is written
  port=NUMBER       serve the page on this port; 0: one that is free
  store=DIR         the folder with local runs (default: mlruns)

A RUN is what `lantu predict run=...` takes: last, an MLflow run id, best:EXPERIMENT, a run folder or a checkpoint file.
An assistant needs understand or recognise; intent and answer need recognise. Without answer, the slots are spoken.
"""
OPTIONS = ("input", "understand", "recognise", "intent", "answer", "speak", "output", "port", "store")


def assistant_main(argv: list[str]) -> int:
    """Run the stages that are named and print a table; returns the exit status."""
    if not argv or any(each in ("--help", "-h") for each in argv):
        print(HELP, end="")
        return 0
    asked = _options(argv)
    if "port" in asked:
        return _serve(asked)
    recording = Path(asked.get("input", "")).expanduser()
    if "input" not in asked or not recording.is_file():
        raise UserError(f"`input={asked.get('input', '')}`: name a recording (WAV, FLAC, OGG, MP3) that is there.")
    output = Path(asked["output"]).expanduser() if "output" in asked else None
    if ("speak" in asked) != (output is not None):
        raise UserError("`speak=RUN` and `output=FILE.wav` belong together: give both, or neither.")
    if output is not None and (output.suffix.lower() != ".wav" or not output.parent.is_dir()):
        raise UserError(f"`output={output}`: a .wav file in a folder that is there.")
    return _answer(asked, recording, output)


def _serve(asked: dict[str, str]) -> int:
    """Serve the page until stopped."""
    both = next((each for each in ("input", "output") if each in asked), None)
    if both is not None:
        raise UserError(f"`port={asked['port']}` serves a page, where `{both}=` has no use: leave one of them out.")
    if not asked["port"].isdecimal() or int(asked["port"]) > 65535:
        raise UserError(f"`port={asked['port']}`: a number from 0 to 65535, such as `port=8090`.")
    for package in ("fastapi", "uvicorn", "multipart"):
        require(package, "lantu assistant port=...", "serve")
    from lantu.inference.voice_assistant import STAGES, check_stages, load
    from lantu.log_noise import without_noise

    runs = {stage: asked[stage] for stage in STAGES if stage in asked}
    check_stages(runs)
    without_noise()
    import uvicorn

    from lantu.serving.assistant_app import build_assistant
    from lantu.serving.serve_command import listen

    listening = listen("127.0.0.1", int(asked["port"]))
    app = build_assistant(load(runs, store=Path(asked.get("store", "mlruns"))), runs)
    print(f"assistant at http://127.0.0.1:{listening.getsockname()[1]}/  (Ctrl-C ends it)", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])
    return 0


def _answer(asked: dict[str, str], recording: Path, output: Path | None) -> int:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from lantu.inference.voice_assistant import STAGES, assist, check_stages, load
    from lantu.log_noise import without_noise

    runs = {stage: asked[stage] for stage in STAGES if stage in asked}
    check_stages(runs)
    without_noise()
    models = load(runs, store=Path(asked.get("store", "mlruns")))
    table = Table(box=None, padding=(0, 2))
    for column, side in (("stage", "left"), ("answer", "left"), ("confidence", "right"), ("seconds", "right")):
        table.add_column(column, justify="right" if side == "right" else "left", overflow="fold")
    total = 0.0
    for step in assist(recording.read_bytes(), models):
        total += step.seconds
        sure = "not known" if step.confidence is None else f"{step.confidence:.2f}"
        table.add_row(step.stage, escape(step.text), sure, f"{step.seconds:.2f}")
        if step.audio is not None and output is not None:
            output.write_bytes(step.audio)
    table.add_row("all", "", "", f"{total:.2f}")
    console = Console()
    console.print(table)
    if output is not None:
        console.print(f"spoken answer written to {output}", highlight=False, soft_wrap=True)
    return 0


def _options(argv: list[str]) -> dict[str, str]:
    found = {}
    for each in argv:
        name, equals, value = each.partition("=")
        if not equals or name not in OPTIONS:
            raise UserError(f"`{each}` is no option of `lantu assistant`.{did_you_mean(name, OPTIONS)} See --help.")
        found[name] = value
    return found
