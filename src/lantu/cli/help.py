"""Help written for a person; printed at once, since nothing heavy is imported for it."""

from lantu.config.explain import options

OVERVIEW = """\
Lantu: train models, and decide which one is worth its cost.

  lantu train model=resnet data=fashion_mnist    train, test and track one model
  lantu train -m seed=0,1,2 model=mlp,cnn        run every combination
  lantu evaluate run=last                        measure a run's model again
  lantu predict run=last input=FILE              apply it to new data
  lantu assistant input=FILE.wav understand=RUN  answer a recording with trained runs, stage by stage
  lantu explain run=last input=FILE              explain predictions, and test whether the explanations are faithful
  lantu card run=last                            write its model card and the EU AI Act's documentation
  lantu monitor run=last new=FILE                check new data for drift from the training data
  lantu export run=last format=onnx              export its network, and check that outputs are equal
  lantu serve run=last                           answer over HTTP; models:/NAME@ALIAS follows promotions
  lantu load run=last                            load-test its server: throughput, latency, cost per prediction
  lantu register run=best:EXPERIMENT name=NAME   register a model; `lantu promote` and `lantu rollback` move its alias
  lantu launch run=last                          one page that says go, no-go or not yet
  lantu compare                                  which run is best, how sure that is, what it cost
  lantu data data=csv data.path=FILE             inspect a table: columns, missing values, keys, leakage
  lantu plan model=gpt preset=7b tokens=140e9    estimate devices, memory, time, money and loss of a run
  lantu catalog                                  list data sets, models, recipes
  lantu doctor                                   print versions, devices, and what is missing
  lantu ui                                       open the MLflow UI over ./mlruns
  lantu models                                   list registered models: versions, aliases, the last decision
  lantu runs                                     list local runs: unsynced, interrupted
  lantu sweeps                                   list sweeps: trials done, running, failed; the best
  lantu sync                                     upload unsynced runs to MLflow

`lantu COMMAND --help` says more. In a checkout, `python scripts/train.py ...` is `lantu train ...`.
"""

HELP = {
    "train": """\
Train one model: `{program} [GROUP=FILE ...] [OPTION=VALUE ...]`

Examples
  {program}                                              a CNN on handwritten digits, under a minute
  {program} data=fashion_mnist model=resnet optimizer.lr=3e-4
  {program} data=csv data.path=loans.csv data.target=status model=mlp
  {program} data=tiny_shakespeare model=gpt trainer.max_steps=2000
  {program} -m model=mlp,cnn optimizer.lr=1e-3,1e-2 seed=0,1,2

What can be composed (GROUP=FILE)
{groups}
Often changed (OPTION=VALUE)
  learning rate       optimizer.lr=3e-4              batch size        data.batch_size=64
  epochs, steps       trainer.max_epochs=20 .max_steps=1000            accumulate   trainer.accumulate_grad_batches=4
  L2, L1              optimizer.weight_decay=0.01    task.l1=1e-5      dropout           model.dropout=0.1
  precision           trainer.precision=auto         clipping          trainer.gradient_clip_val=1.0
  activation          model.activation=gelu          initialisation    init=he
  label smoothing     task.label_smoothing=0.1       class weights     task.class_weights=balanced
  early stopping, EMA callbacks=[default,early_stopping,ema]           loggers           logger=[mlflow,tensorboard]
  seed                seed=1                         a quick look      debug=limited

Flags
  -m                  run every combination of comma-separated values
  --cfg job           print the composed config (add --resolve to fill in references)
  --config-dir DIR    search your own folder of configs first (or LANTU_CONF=DIR, or ./conf)
""",
    "evaluate": """\
Measure a run's model again: `{program} run=WHICH`

  run=last                     the newest run kept in ./mlruns
  run=ID                       an MLflow run id, whole or its beginning
  run=best:EXPERIMENT          the best by validation loss of an experiment
  run=path/to/best.ckpt        a checkpoint file; a run folder works too

Config, data and model are rebuilt from the run alone. `split=val` measures another split.

  baselines=true               compare with simple models on the same test rows; `lantu promote` and `launch` read it
  fairness.group=[COLUMN]      measure by groups of people as well
""",
    "predict": """\
Apply a run's model to new data: `{program} run=WHICH input=PATH [output=FILE]`

  run=...                      as for evaluate: last, an id, best:EXPERIMENT, a checkpoint
  input=FILE or FOLDER         a table (CSV, Parquet), images, recordings, a text file
  output=predictions.csv       .csv, .parquet or .jsonl, by the ending; none: the terminal

A language model continues a prompt: `{program} run=last prompt="To be" tokens=300 temperature=0.8 top_k=40`
""",
    "explain": """\
Explain a run's predictions: `{program} run=WHICH input=PATH [output=FOLDER]`

  run=...                      as for evaluate: last, an id, best:EXPERIMENT, a checkpoint
  input=FILE or FOLDER         a table, a folder of images, a text file; examples=16 of it
  methods=[shapley]            integrated_gradients, grad_cam, occlusion, shapley; none named: all that fit

Images get integrated gradients, Grad-CAM and occlusion, tables Shapley values, texts token attributions. Each method is
tested for faithfulness: by deleting the inputs that it ranks highest, and by randomising the weights.
""",
    "card": """Write a run's model card: `{program} run=WHICH [output=FOLDER]`

  run=...                      as for evaluate: last, an id, best:EXPERIMENT, a checkpoint
  output=FOLDER                none: card/ in the run's folder

It writes card.md and card.html (the format of Hugging Face) and annex_iv.md (technical documentation of the EU AI Act)
from the run's record. Sections that a person must write are marked.
""",
    "monitor": """Check new data for drift: `{program} run=WHICH new=FILE [reference=FILE]`

  run=...                      as for evaluate: last, an id, best:EXPERIMENT, a checkpoint
  new=FILE                     rows since deployment; with the target among the columns, performance is checked too
  reference=FILE               rows to compare with; none: the training rows' quantiles, kept in the checkpoint

Exit status: 0 no comparison shows a change, 3 at least one does, 2 an option is wrong.
""",
    "export": """\
Write a run's network for other runtimes: `{program} run=WHICH [format=onnx]`

  format=onnx                  for onnxruntime; torch is torch.export's .pt2; safetensors holds the weights alone
  precision=int8               smaller (onnx); bf16 for safetensors: the loss in quality is measured on the test split
  input=FILE                   examples to compare on, where the run's data are not here
  output=FOLDER                none: export/FORMAT in the run's folder

Nothing is written unless the outputs equal those of the trained network. `lantu predict run=FOLDER` predicts with it.
""",
    "serve": """\
Serve a run's model over HTTP: `{program} run=WHICH [port=8000]`

  run=models:/credit@champion  a registered model; after a promotion the new version takes over without a lost request
  run=...                      as for predict, or a folder that `lantu export` wrote
  host=0.0.0.0                 other machines too: LANTU_SERVE_TOKEN must hold a token
  max_batch=64 timeout=30      and further limits: `{program} --cfg job`

POST /predict takes {{"inputs": [{{...}}]}} or files; / is a page to try it; /metrics is for Prometheus. A language
model has /v1/completions and /v1/chat/completions too.
""",
    "load": """\
Load a model's server on this machine: `{program} run=WHICH [seconds=10] [clients=16] [rate=100]`

  rate=100                     requests a second of the open loop; none: 70% of what the closed loop reached
  input=FILE or FOLDER         what to send; none: rows drawn by the training table's statistics
  server_per_hour=0.05         price of the machine, for the cost of a thousand predictions
""",
    "register": """\
Register a run's model: `{program} run=WHICH name=NAME [alias=candidate]`

  run=best:EXPERIMENT          or last, an id, a run folder
  --force "REASON"             register an unfinished run; the reason is recorded
""",
    "promote": """\
Move an alias to a better version: `{program} name=NAME [from=candidate] [to=champion] [gate=default]`

  gate=strict                  conf/gate/*.yaml; one option: gate.latency.p99_ms=50
  --force "REASON"             promote although a gate fails; the reason is recorded
""",
    "rollback": """\
Move an alias back to its previous version: `{program} name=NAME [alias=champion] [reason="..."]`
""",
    "launch": """\
Write a page that recommends go, no-go or not yet: `{program} run=WHICH [name=NAME] [gate=strict] [output=launch.html]`

  run=models:/NAME@candidate   compares with NAME's champion
""",
    "compare": """\
Compare runs and recommend one: `{program} sweep=NAME`

  sweep=NAME  experiment=NAME  runs=[ID,ID]  filter="..."    which runs; none named: the newest sweep or experiment
  metric=val/loss              what decides; another such as metric=val/accuracy
  sort=-cost/usd top=10        order and length of the table; columns=[lr,seeds,difference] picks columns
  table=runs.csv               the table as .csv, .parquet, .json, .md or .tex, by the ending
  report=report.html           the report, one self-contained file

All options: `{program} --cfg job`.
""",
}


def show_overview() -> int:
    """Print what Lantu can do."""
    print(OVERVIEW)
    return 0


def show_help(command: str) -> int:
    """Print the help of a composed command."""
    from lantu.config.composing import config_search

    with config_search():
        listed = "".join(_group_line(group) for group in GROUPS)
    print(HELP[command].format(program=f"lantu {command}", groups=listed))
    return 0


GROUPS = (
    "data",
    "model",
    "task",
    "optimizer",
    "scheduler",
    "init",
    "peft",
    "privacy",
    "trainer",
    "callbacks",
    "logger",
    "experiment",
    "preset",
    "debug",
)
WIDTH = 100


def _group_line(group: str) -> str:
    """A group and its files, wrapped."""
    from textwrap import fill

    names = ", ".join(options(group)) or "(none)"
    return fill(names, WIDTH, initial_indent=f"  {group:<12}", subsequent_indent=" " * 14) + "\n"
