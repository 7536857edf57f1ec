"""Options of the run itself, of a sweep, of the loggers and of the commands that read finished runs."""

from lantu.config.ranges.rule import (
    COUNT,
    LARGEST_SEED,
    NONEMPTY_TEXT,
    NONNEGATIVE,
    NULL,
    POSITIVE,
    Rule,
    integer,
    list_of,
    number,
    one_of,
)

RUN_RANGES: dict[str, Rule] = {
    # the run
    "seed": integer(0, LARGEST_SEED),
    "resume": NONEMPTY_TEXT | NULL,
    "notice": NONEMPTY_TEXT | NULL,
    "budget.*": POSITIVE | NULL,
    "paths.*": NONEMPTY_TEXT | NULL,
    "logger.mlflow.fsync_seconds": POSITIVE,
    "logger.mlflow.store": NONEMPTY_TEXT,
    "logger.*.run_dir": NONEMPTY_TEXT,
    "logger.*.save_dir": NONEMPTY_TEXT,
    # a sweep
    "sweep.budget.*": POSITIVE | NULL,
    "sweep.retries": integer(0, 1000),
    "sweep.name": NONEMPTY_TEXT | NULL,
    "sweep.resume": NONEMPTY_TEXT | NULL,
    "sweep.register": NONEMPTY_TEXT | NULL,
    "sweep.trial": integer(0) | NULL,
    "sweep.objective": NONEMPTY_TEXT | list_of(NONEMPTY_TEXT),
    "sweep.direction": one_of("minimize", "maximize") | list_of(one_of("minimize", "maximize")) | NULL,
    # evaluate and predict
    "batch_size": integer(1, 10**9),
    "classes": NONEMPTY_TEXT | integer(0) | list_of(NONEMPTY_TEXT | integer(0)) | NULL,
    # generated text
    "tokens": COUNT,
    "count": COUNT,
    "temperature": NONNEGATIVE,
    "top_k": COUNT | NULL,
    "top_p": number(0, 1, above=True) | NULL,
    "repetition_penalty": POSITIVE,
    # compare
    "statistics.level": number(0, 1, above=True, below=True),
    "statistics.power": number(0, 1, above=True, below=True),
    "top": COUNT | NULL,
}
