"""Which of two classes is the positive one: the one that precision, recall, F1 and AUROC are about."""

import re
from collections.abc import Mapping

from lantu.data.values import FALSE, TRUE

AFFIRMATIVE = TRUE | {"1", "positive", "pos", "present", "+"}
NEGATIVE = FALSE | {"0", "-1", "negative", "neg", "absent", "none", "-"}
SOUGHT = frozenset({
    "abnormal", "anomaly", "attack", "bad", "canceled", "cancelled", "churn", "churned", "dead", "deceased",
    "default", "defaulted", "defect", "defective", "denied", "died", "disease", "diseased", "error", "fail",
    "failed", "failure", "faulty", "fraud", "fraudulent", "ill", "infected", "injured", "late", "lost",
    "malignant", "overdue", "rejected", "relapse", "sick", "spam", "stolen", "toxic",
})  # fmt: skip
"""Words that usually name the positive class."""


def positive_of(names: list[str], counts: Mapping[str, int]) -> str:
    """The positive one of two classes.

    The first of these rules that decides: yes, true, 1 and the like beside their opposite; a word such as bad, default,
    fraud, churn or failed in one name alone; the rarer class; the last in alphabetical order.
    """
    assert len(names) == 2
    lowered = [name.strip().lower() for name in names]
    for one, other in ((0, 1), (1, 0)):
        if lowered[one] in AFFIRMATIVE and (lowered[other] in NEGATIVE or re.match(r"(no|not|non)\b", lowered[other])):
            return names[one]
    sought = [
        bool(SOUGHT & set(re.findall(r"[a-z]+", name))) and not re.match(r"(no|not|non)\b", name) for name in lowered
    ]
    if sum(sought) == 1:
        return names[sought.index(True)]
    first, second = (counts.get(name, 0) for name in names)
    if first != second:
        return names[0] if first < second else names[1]
    return sorted(names)[-1]
