"""Options of the run itself, of a sweep, of the loggers and of the commands that read finished runs."""

from lantu.config.ranges.rule import (
    BOOLEAN,
    COUNT,
    FRACTION,
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
    "hydra.sweeper.n_trials": COUNT | NULL,
    "hydra.sweeper.n_jobs": COUNT | NULL,
    "hydra.sweeper.timeout": POSITIVE | NULL,
    "hydra.sweeper.num_cpus": POSITIVE,
    "hydra.sweeper.num_gpus": NONNEGATIVE,
    "hydra.sweeper.retries": integer(0, 1000),
    "hydra.sweeper.*.n_*": integer(0) | NULL,
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
    "examples": BOOLEAN | COUNT,
    # explain, export and monitor
    "tolerance": POSITIVE,
    "alpha": number(0, 1, above=True, below=True),
    "least": FRACTION,
    # predict from large tables
    "rows_at_once": COUNT | NULL,
    "workers": integer(1, 1024) | one_of("ray"),  # a Ray cluster
    # serve
    "port": integer(0, 65535),
    "threads": integer(1, 1024),
    "max_waiting": integer(0),
    "max_*": COUNT,
    "timeout": POSITIVE,
    "reload_every": NONNEGATIVE,
    "sample": FRACTION,
    "sample_rows": COUNT,
    # load
    "rows": COUNT,
    "clients": integer(1, 10**5),
    "seconds": number(0, 600, above=True),
    "share": number(0, 1, above=True),
    "rate": POSITIVE | NULL,
    "server_per_hour": NONNEGATIVE | NULL,
    # launch: the limits of the gates
    "gate.quality.worse_by": NONNEGATIVE | NULL,
    "gate.quality.level": number(0, 1, above=True, below=True),
    "gate.cost.usd_per_thousand": NONNEGATIVE | NULL,
    "gate.latency.p99_ms": NONNEGATIVE | NULL,
    "gate.errors.share": FRACTION | NULL,
    "gate.size.mb": NONNEGATIVE | NULL,
    "gate.*.most": NONNEGATIVE | NULL,
    "gate.*.least": NONNEGATIVE | NULL,
    "usd_per_label": NONNEGATIVE | NULL,
}
