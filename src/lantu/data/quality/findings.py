"""Look for doubtful labels, near duplicates and gaps in a data module, and add them to its report."""

from typing import Any

import numpy as np

from lantu.data.cleaning_report import Report
from lantu.errors import UserError


def add_label_errors(module: Any, report: Report) -> None:
    """Report labels of the training split that may be wrong.

    Raises:
        UserError: the data have no classes, or no classical model to predict them with.
    """
    from lantu.data.quality.label_errors import MOST, label_errors

    if module.spec.get("task") != "classification":
        raise UserError("`labels=true` looks for wrong classes, and the target of these data is no class.")
    size = len(module.splits["train"])
    rows = np.arange(size)
    if size > MOST:
        rows = np.sort(np.random.default_rng(0).permutation(size)[:MOST])
        report.say(f"labels: {MOST:,} of {size:,} training rows were looked at, drawn at random")
    x, y = module.classical_features("train", rows)
    description, model = module.classical_model(classifies=True, shape=x.shape)
    found = label_errors(x, y.astype(np.int64), model)
    names = module.spec.get("class_names") or [str(number) for number in range(int(y.max()) + 1)]
    ids = module.row_ids("train")
    report.note(
        len(found),
        f"training labels that {description} doubts, out of fold: look at them, the first ones first. Many are right",
    )
    if len(found):
        report.tables["Labels that may be wrong"] = [
            {
                "row": str(ids[rows[each.row]]) if ids else int(rows[each.row]),
                "given": str(names[each.given]),
                "suggested": str(names[each.suggested]),
                "quality": round(float(each.quality), 4),
            }
            for each in found.itertuples()
        ]


def add_near_duplicates(module: Any, report: Report) -> None:
    """Report texts or pictures of any split that are near duplicates.

    Raises:
        UserError: the data are neither.
    """
    from lantu.data.quality.near_duplicates import near_pictures, near_texts

    parts, places = [], []
    for split, examples in module.splits.items():
        x = getattr(examples, "x", None)
        values = None if x is None else np.asarray(x)[np.asarray(examples.rows)]
        if values is None or not ((values.ndim == 2 and values.dtype.kind == "i") or (values.ndim == 4)):
            raise UserError(
                "`near=true` compares texts and pictures, and these data are neither. Equal rows are counted."
            )
        parts.append(values)
        places += [(split, row) for row in range(len(values))]
    together = np.concatenate(parts)
    if together.ndim == 2:
        pairs = near_texts(together, pad=int(module.spec.get("pad_id", 0)), unknown=module.unknown_token())
    else:
        pairs = near_pictures(together)
    ids = {split: module.row_ids(split) for split in module.splits}

    def shown(place: int) -> str:
        split, row = places[place]
        return f"{split} {ids[split][row] if ids[split] else row}"

    across = [(one, two, alike) for one, two, alike in pairs if places[one][0] != places[two][0]]
    report.note(len(pairs) - len(across), "pairs of examples of one split that nearly repeat")
    if across:
        report.warn(
            f"{len(across):,} pairs of examples that nearly repeat lie in different splits, so scores are too good: "
            "keep what belongs together in one split with `data.group=COLUMN`."
        )
    ordered = [*across, *(each for each in pairs if places[each[0]][0] == places[each[1]][0])]
    if ordered:
        report.tables["Examples that nearly repeat"] = [
            {"one": shown(one), "other": shown(two), "alike": round(alike, 4)} for one, two, alike in ordered
        ]


def add_coverage(module: Any, report: Report) -> None:
    """Report how much of validation and test the training split covers, and how diverse each of its classes is.

    Raises:
        UserError: the data have no features that distances can be measured between.
    """
    from lantu.data.quality.coverage import MOST, MOST_COMPARED, covered, standardised, vendi

    random = np.random.default_rng(0)

    def drawn(split: str) -> tuple[Any, np.ndarray]:
        size = len(module.splits[split])
        return module.classical_features(split, np.sort(random.permutation(size)[:MOST]))

    train, y = drawn("train")
    others = {split: drawn(split)[0] for split in module.splits if split != "train"}
    train, *rest = standardised(train, *others.values())
    order = random.permutation(train.shape[0])
    one, two = order[: len(order) // 2], order[len(order) // 2 :]
    # all are compared with one half of the training examples, so that the shares can be compared with each other
    share = covered(train[one], train[two])
    rows: list[dict[str, Any]] = [{"examples": "train, its other half", "looked at": len(two), "covered": share}]
    for split, features in zip(others, rest, strict=True):
        rows.append({"examples": split, "looked at": features.shape[0], "covered": covered(train[one], features)})
        if rows[-1]["covered"] < rows[0]["covered"] - 0.1:
            report.warn(
                f"{split}: only {rows[-1]['covered']:.0%} of the examples lie near a training example, and "
                f"{rows[0]['covered']:.0%} of training examples near another one: it holds what training does not."
            )
    measured = ", ".join(f"{each['covered']:.0%} of {each['examples']}" for each in rows[1:])
    report.say(
        f"coverage: near an example of one half of train lie {share:.0%} of its other half"
        + (f", {measured}" if measured else "")
    )
    report.tables["Coverage by the training split"] = [
        {**each, "covered": round(float(each["covered"]), 4)} for each in rows
    ]
    classes = module.spec.get("class_names") if module.spec.get("task") == "classification" else None
    parts = [("all", np.arange(train.shape[0]))]
    parts += [(str(name), np.flatnonzero(y == number)) for number, name in enumerate(classes or [])]
    report.tables["Diversity of the training split"] = [
        {"examples": name, "looked at": len(each), "effectively different": round(vendi(train[each]), 1)}
        for name, places in parts
        if len(each := places[:MOST_COMPARED]) > 1
    ]
    whole = report.tables["Diversity of the training split"][0]
    report.say(
        f"diversity: {whole['looked at']:,} training examples are worth {whole['effectively different']:,} that have "
        "nothing in common (Vendi score)"
    )


def add_agreement(module: Any, report: Report, annotators: list[str]) -> None:
    """Report how far the labels in several columns agree, over all rows of the source.

    Raises:
        UserError: the data lack one of the columns.
    """
    from lantu.data.quality.agreement import agreement

    source = getattr(module, "source", None)
    rows = None if source is None else source().rows
    lacking = [each for each in annotators if rows is None or each not in rows]
    if rows is None or lacking:
        known = "" if rows is None else f" It has {', '.join(map(str, rows.columns))}."
        raise UserError(f"`annotators=[{','.join(annotators)}]`: the data have no column {', '.join(lacking)}.{known}")
    found = agreement(rows[annotators])
    alpha = float(found["value"].iloc[0])
    report.say(f"the annotators agree to Krippendorff's alpha {alpha:.3f} (1 is perfect, 0 is chance)")
    report.tables["Agreement of annotators"] = [
        {**each, "value": round(each["value"], 4)} for each in found.to_dict("records")
    ]
