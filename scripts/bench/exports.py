"""Train every architecture of the catalogue for two steps, export it, and print the table of docs/export.md.

    LANTU_MIRROR=../shared/data python scripts/bench/exports.py [MODEL ...]

One line for each: the format, the largest difference |a - b| / (1 + |a|) on real examples, which dimensions may vary,
the size; or the sentence that refuses it.
"""

import sys
import tempfile
import time
import traceback
from pathlib import Path

import lantu
from lantu.errors import UserError
from lantu.inference.rebuild import rebuild
from lantu.log_noise import without_noise
from lantu.serving.export.export_command import export

SHORT = [
    *(
        "trainer.max_steps=2",
        "trainer.limit_val_batches=1",
        "trainer.enable_progress_bar=false",
        "callbacks.figures=null",
    ),
    *("logger.mlflow=null", "test=false", "save_model=false", "data.batch_size=8"),
]
TEXT = ["data=trec"]
BOXES = ["data=bccd", "data.size=128", "data.workers=0"]
RECORDINGS = ["data=digit_strings", "data.source.repeats=1", "task.decoder=greedy", "task.lexicon=false"]
CHARACTERS = ["data=tiny_shakespeare", "data.context=32"]
RUNS = {
    "linear": ["data=breast_cancer"],
    "mlp": ["data=breast_cancer"],
    "tabm": ["data=breast_cancer"],
    "cnn": ["data=digits"],
    "resnet": ["data=digits"],
    "inception": ["data=digits", "trainer.max_steps=60"],
    "speech_cnn": ["data=fsdd"],
    "ctc": [*RECORDINGS],
    "ctc_cnn": [*RECORDINGS],
    "ctc recurrent": [*RECORDINGS, "model.recurrent=true"],
    "fasttext": [*TEXT],
    "rnn": [*TEXT],
    "lstm": [*TEXT],
    "lstm bidirectional": [*TEXT, "model.bidirectional=true"],
    "gru": [*TEXT],
    "bert": [*TEXT],
    "distilbert": [*TEXT],
    "bert_mlm": ["data=tiny_shakespeare", "data.level=bpe", "data.context=32"],
    "bert_qa": ["data=questions", "data.path={questions}"],
    "lstm writing": [*CHARACTERS],
    "gpt": [*CHARACTERS],
    "gpt grouped-query, qk_norm": [*CHARACTERS, "model.kv_heads=2", "model.qk_norm=true"],
    "gpt2": [*CHARACTERS, "model.layers=2", "model.width=48"],
    "scorecard": ["data=credit"],
    "tcn": ["data=co2"],
    "patchtst": ["data=co2"],
    "clip": ["data=openclipart", "data.size=32"],
    "siglip": ["data=openclipart", "data.size=32"],
    "fusion": ["data=openclipart_categories", "data.size=32"],
    "slot_network": ["data=coffee_orders"],
    "wav2vec2": [*RECORDINGS, "data.features=waveform"],
    "whisper": [*RECORDINGS],
    "parakeet": [*RECORDINGS],
    "wavenet": ["data=asterisk_en_synthesis", "model.layers=4", "model.dilations=4"],
    "dcgan": ["data=digits"],
    "r3gan": ["data=digits"],
    "yolo": [*BOXES, "model.width_factor=0.125"],
    "fcos": [*BOXES],
    "retinanet": [*BOXES],
    "detr": [*BOXES],
    "deformable_detr": [*BOXES],
    "rt_detr": [*BOXES, "trainer.max_steps=60"],  # after two all scores are tied, and the best are any
    "dfine": [*BOXES, "trainer.max_steps=60"],
}  # fmt: skip
"""For each row of the table, the options of its run; the first word is the model."""


def main() -> None:
    asked = sys.argv[1:]
    without_noise()
    print("| model | format | largest difference | dynamic | MB | seconds |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_questions(folder / "questions.jsonl")
        for row, options in RUNS.items():
            if not asked or row.split()[0] in asked:
                _measure(row, [each.format(questions=folder / "questions.jsonl") for each in options], folder)


def _measure(row: str, options: list[str], folder: Path) -> None:
    model = row.split(maxsplit=1)[0]
    composed = lantu.compose(f"paths.root={folder}", *SHORT, *options, f"model={model}")
    try:
        checkpoint = lantu.run(composed).best_checkpoint
    except UserError as error:
        print(f"| {row} | - | does not train here: {error} | | | |", flush=True)
        return
    assert checkpoint is not None
    for form in ("torch", "onnx", "safetensors"):
        began = time.monotonic()
        try:
            rebuilt = rebuild(checkpoint, cache=composed.cfg.paths.cache)
            found = export(rebuilt, checkpoint, folder / "export" / form, form=form, examples=16)
        except UserError as error:
            print(f"| {row} | {form} | {error} | | | |", flush=True)
            continue
        except Exception as error:  # a fault of ours: the other rows are still wanted
            print(f"| {row} | {form} | FAULT {type(error).__name__}: {error} | | | |", flush=True)
            traceback.print_exc()
            continue
        varies = "; ".join(f"{name} {places}" for name, places in (found["dynamic"] or {}).items())
        if found["padded"]:
            varies += f", padded to {found['padded']['length']}"
        worst = max(found["largest"].values())
        spent = time.monotonic() - began
        print(f"| {row} | {form} | {worst:.1e} | {varies} | {found['bytes'] / 1e6:.2f} | {spent:.0f} |", flush=True)


def _write_questions(path: Path) -> None:
    import pandas as pd

    rows = [
        {"question": f"Who holds the {thing}?", "context": f"{who} holds the {thing} number {each}.", "answer": who}
        for each in range(40)
        for who, thing in (("Ada", "book"), ("Grace", "key"))
    ]
    pd.DataFrame(rows).to_json(path, orient="records", lines=True)


if __name__ == "__main__":
    main()
