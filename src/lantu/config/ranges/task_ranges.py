"""Options of the tasks."""

from lantu.config.ranges.rule import (
    BOOLEAN,
    COUNT,
    FRACTION,
    FRACTION_BELOW_1,
    MAPPING,
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

TASK_RANGES: dict[str, Rule] = {
    # of every task
    "task.extra_metrics": MAPPING | NULL,
    # classification and regression
    "task.loss": one_of("mse", "mae", "huber"),
    "task.classes": COUNT,
    "task.label_smoothing": FRACTION_BELOW_1,
    "task.l1": NONNEGATIVE,
    "task.class_weights": one_of("balanced") | list_of(NONNEGATIVE) | NULL,
    "task.positive_weight": one_of("balanced") | list_of(NONNEGATIVE) | NULL,
    "task.threshold": FRACTION,
    # embeddings and verification
    "task.embedding": COUNT,
    "task.head": one_of("arcface", "cosface", "softmax"),
    "task.margin": number(0, 1.57, below=True) | NULL,
    "task.scale": POSITIVE,
    "task.false_identifications": FRACTION_BELOW_1 | NULL,
    "task.mirror": BOOLEAN,
    # adversarial training
    "task.objective": one_of("non_saturating", "relativistic") | NULL,
    "task.penalty": NONNEGATIVE | NULL,
    "task.penalty_every": COUNT,
    "task.ema": FRACTION_BELOW_1,
    "task.feature_steps": COUNT,
    "task.compared": COUNT,
    "task.inception": NONEMPTY_TEXT | NULL,
    # detection
    "task.min_score": FRACTION,
    "task.overlap": FRACTION,
    "task.most": COUNT,
    # speech
    "task.decoder": one_of("greedy", "beam"),
    "task.sample_rate": COUNT,
    "task.bands": COUNT,
    "task.frame_seconds": POSITIVE,
    "task.beam": integer(1, 10**5),
    "task.top": COUNT,
    "task.front_weight": NONNEGATIVE,
    "task.sample_seconds": NONNEGATIVE,
    # forecasting
    "task.kind": one_of("point", "quantile", "student_t", "skewed_t", "var_es"),
    "task.levels": list_of(number(0, 1, above=True, below=True)),
    "task.horizon": COUNT,
    "task.folds": COUNT,
    "task.season": COUNT,
    "task.classical_window": integer(2, 10**9) | NULL,
    "task.classical_refit": COUNT,
    # text
    "task.max_answer": COUNT,
    "task.bytes_per_token": POSITIVE,
    "task.context": COUNT,
    "task.end_id": integer(0) | NULL,
    "task.sample_tokens": integer(0, 10**7),
    "task.sample_temperature": NONNEGATIVE,
    "task.test_samples": integer(0),
    "task.masked": number(0, 1, above=True),
    "task.replaced": FRACTION,
    "task.kept": FRACTION,
}
