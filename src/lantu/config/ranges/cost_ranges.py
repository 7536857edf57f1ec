"""Options of the economics, of the business case of a model, and of fairness."""

from lantu.config.ranges.rule import (
    AMOUNT,
    FRACTION,
    MAPPING,
    NONEMPTY_TEXT,
    NONNEGATIVE,
    NULL,
    POSITIVE,
    TEXT,
    Rule,
    integer,
    list_of,
    number,
    one_of,
)

COST_RANGES: dict[str, Rule] = {
    # prices and emissions
    "economics.usd_per_device_hour.*": NONNEGATIVE,
    "economics.usd_per_kwh": NONNEGATIVE,
    "economics.pue": number(1),
    "economics.grams_co2e_per_kwh": NONNEGATIVE | NULL,
    "economics.country": NONEMPTY_TEXT,
    # hardware
    "hardware.tflops_*": POSITIVE | NULL,
    "hardware.memory_gib": POSITIVE | NULL,
    "hardware.watts": POSITIVE | NULL,
    # the business case
    "business.growth_per_month": number(-1, above=True) | list_of(number(-1, above=True)) | NULL,
    "business.months": integer(1, 1200),
    "business.discount_per_year": number(-1, above=True),
    "business.utilisation": number(0, 1, above=True) | list_of(number(0, 1, above=True)) | NULL,
    "business.predictions_per_second": POSITIVE | NULL,
    "business.retrain_every_months": POSITIVE | NULL,
    "business.reference_quality": number() | NULL,
    "business.value_per_quality": number() | list_of(number()) | NULL,
    "business._target_": NONEMPTY_TEXT,
    "business.profit.*": number(),
    "business.actions": list_of(TEXT, length=2),
    "business.threshold": one_of("validation", "theory") | FRACTION,
    "business.reasons": integer(0, 100),
    "business.reason_texts": MAPPING,
    "business.reason_texts.*": NONEMPTY_TEXT,
    "business.columns": list_of(TEXT) | NULL,
    "business.profit": MAPPING,
    "business.*": AMOUNT | NULL,
    # fairness
    "fairness.group": list_of(NONEMPTY_TEXT, least=0) | NULL,
    "fairness.favourable": NONEMPTY_TEXT | NULL,
    "fairness.least": integer(1),
    "fairness.mitigation": one_of("reweighing", "constraint", "thresholds") | NULL,
    "fairness.constraint": one_of("demographic_parity", "equalized_odds", "equal_opportunity"),
    "fairness.strength": NONNEGATIVE,
    "fairness.tolerance": number(0, 1),
}
