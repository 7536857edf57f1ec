"""The sections of a model card and of Annex IV, filled with what a run knows."""

from lantu.responsible.card.document import Section
from lantu.responsible.card.facts import Facts
from lantu.units import format_duration, format_energy, format_mass, format_money

SHOWN_PACKAGES = (
    "lantu",
    "torch",
    "pytorch-lightning",
    "torchmetrics",
    "transformers",
    "timm",
    "mlflow",
    "scikit-learn",
)


def model_card(facts: Facts) -> list[Section]:
    """The sections of Hugging Face's template (Mitchell et al. 2019)."""
    return [
        model(facts), uses(facts), limits(facts), data(facts), procedure(facts), evaluation(facts), groups(facts),
        privacy(facts), explanation(facts), environment(facts), versions(facts), contact(),
    ]  # fmt: skip


def annex_iv(facts: Facts) -> list[Section]:
    """The nine points of Annex IV of Regulation (EU) 2024/1689, article 11(1)."""

    def numbered(title: str, *parts: Section) -> Section:
        section = Section(title)
        for part in parts:
            section.heading(part.title).blocks += part.blocks
        return section

    monitoring = Section("Monitoring").text(
        "`lantu monitor` compares new inputs and predictions with those of training and validation, and keeps the "
        "figures in MLflow."
    )
    return [
        numbered("1. General description of the AI system", model(facts), uses(facts), versions(facts)),
        numbered(
            "2. Elements of the system and process of its development",
            procedure(facts), data(facts), evaluation(facts), privacy(facts), environment(facts),
        ),
        numbered(
            "3. Monitoring, functioning and control", limits(facts), groups(facts), explanation(facts), monitoring
        ),
        numbered("4. Appropriateness of the performance metrics").todo(
            "why the metrics above are the right ones for the purpose, and what a wrong answer costs."
        ),
        numbered("5. Risk management system (article 9)").todo(
            "known and foreseeable risks to health, safety and fundamental rights, and the measures against each."
        ),
        numbered("6. Changes during the lifecycle").todo("what was changed since the first version, and why.").list(
            [f"code revision {facts.tags['mlflow.source.git.commit']}"] if _commit(facts) else []
        ),
        numbered("7. Harmonised standards applied").todo("the standards, or how the requirements are met without."),
        numbered("8. EU declaration of conformity (article 47)").todo("a copy of the declaration."),
        numbered("9. Post-market monitoring plan (article 72)", monitoring).todo(
            "who looks at it, how often, and what is done when something has changed."
        ),
    ]  # fmt: skip


def model(facts: Facts) -> Section:
    """What it is."""
    choices = facts.cfg.get("choices") or {}
    section = Section("Model").text(
        f"{facts.name}: `model={choices.get('model')}` for `task={choices.get('task')}`, {facts.parameters:,} weights, "
        f"trained with Lantu on `data={choices.get('data')}`."
    )
    section.heading("Inputs and outputs")
    section.table(["takes", "type"], [[each["name"], each["type"]] for each in facts.inputs[:50]])
    if facts.carried:
        section.text(
            f"It decides by a threshold for each group of {', '.join(facts.carried)}, which it needs of everybody and "
            "the network does not see. Deciding about persons by their group may be unlawful."
        )
    return section.table(["answers", "type"], [[each["name"], each["type"]] for each in facts.outputs[:50]])


def uses(facts: Facts) -> Section:
    """What it is for."""
    return Section("Intended use").todo(
        "the purpose, who uses it and on whom, and uses that it must not be put to. Scoring the credit of persons is "
        "high-risk (Annex III, 5(b) of the EU AI Act)."
    )


def limits(facts: Facts) -> Section:
    """What the run knows to be doubtful."""
    section = Section("Limits").list([str(each) for each in facts.data.get("warnings", [])])
    examples = facts.data.get("sizes", {}).get("test")
    if examples:
        section.text(
            f"The figures are of {examples:,} test examples, which were cut from the same source as the training ones. "
            "They say nothing of people, places or times that the source does not have."
        )
    return section.todo("situations in which it fails, and what the user must do then (human oversight, article 14).")


def data(facts: Facts) -> Section:
    """What it learned from."""
    section = Section("Data").text(f"{facts.data.get('title') or facts.source}. Source: {facts.source}.")
    sizes = facts.data.get("sizes", {})
    rows = [
        [name, sizes.get(name, ""), facts.fingerprints.get(name, "not known")] for name in sizes or facts.fingerprints
    ]
    section.table(["split", facts.data.get("unit", "examples"), "fingerprint"], rows)
    section.list([_found(each) for each in facts.data.get("found", [])])
    classes = facts.data.get("classes", {})
    if classes:
        names = list(next(iter(classes.values())))[:30]
        section.table(
            ["class", *classes], [[name, *(classes[split].get(name, 0) for split in classes)] for name in names]
        )
    if facts.licence:
        section.text(f"Licence: {facts.licence}.")
    else:
        section.todo("the licence of the data, and on what legal basis personal data were used.")
    return section.todo("how the data were collected and labelled, and whom they represent (article 10).")


def procedure(facts: Facts) -> Section:
    """How it was trained."""
    cfg = facts.cfg
    optimizer = cfg.get("optimizer") or {}
    options = [
        ("optimizer", f"{str(optimizer.get('_target_', '')).rpartition('.')[2]}, learning rate {optimizer.get('lr')}"),
        ("batch size", cfg.data.get("batch_size")), ("seed", cfg.get("seed")),
        ("epochs at most", _limit(cfg.trainer.get("max_epochs"))),
        ("steps at most", _limit(cfg.trainer.get("max_steps"))),
        ("precision", cfg.trainer.get("precision")),
    ]  # fmt: skip
    section = Section("Training").table(["option", "value"], [[name, str(value)] for name, value in options])
    if facts.tags.get("mlflow.source.name"):
        section.text(f"Command: `{facts.tags['mlflow.source.name']}`")
    return section


def evaluation(facts: Facts) -> Section:
    """How good it is."""
    section, rows = Section("Evaluation"), []
    for name, value in sorted(facts.metrics.items()):
        if name.startswith("test/") and name.count("/") == 1 and not _is_a_limit(name, facts):
            count = facts.intervals[name][2] if name in facts.intervals else ""
            rows.append([name.partition("/")[2], float(value), _interval(name, facts), count])
    if not rows:
        return section.todo("figures: the run measured no test split, or its folder is not on this machine.")
    return section.table(["metric (test)", "value", "95% interval", "examples"], rows).text(
        "Intervals are over test examples; training again with another seed varies the figures as well."
    )


def groups(facts: Facts) -> Section:
    """How good it is for parts of the data."""
    section = Section("Groups and slices")
    rows = [
        [name, float(value), _interval(name, facts)]
        for name, value in sorted(facts.metrics.items())
        if _is_of_a_group(name) and not _is_a_limit(name, facts)
    ]
    if rows:
        return section.table(["metric of a group", "value", "95% interval"], rows)
    return section.todo(
        "how it does for groups of people: `lantu evaluate run=... fairness.group=[COLUMN]` measures it."
    )


def privacy(facts: Facts) -> Section:
    """What of a training example it may give away."""
    section, account = Section("Privacy"), facts.privacy
    if account is None and (facts.folder is None or facts.cfg.get("privacy")):
        return section.todo("the privacy guarantee, if any: the run's `privacy.json` is not on this machine.")
    if account is None:
        return section.text("Trained without a privacy guarantee: it may have memorised training examples.")
    section.text(
        f"Trained with differential privacy: epsilon {account['epsilon']:.3g} at delta {account['delta']:g} for "
        f"{account['unit']} ({account['adjacency']} adjacency, {account['accountant']} accountant, noise "
        f"{account['noise']:.3g}, clip {account['clip']:g}, {account['steps']:,} steps). Not covered:"
    )
    return section.list([str(each) for each in account.get("not_covered", [])])


def explanation(facts: Facts) -> Section:
    """Why it answers as it does."""
    section = Section("Explanation")
    rows = [
        [name.partition("/")[2], float(value)]
        for name, value in sorted(facts.metrics.items())
        if name.startswith("explain/")
    ]
    if not rows:
        return section.todo("how its answers can be explained: `lantu explain run=... input=FILE` measures it.")
    return section.table(["faithfulness", "value"], rows).list(
        [each for each in facts.files if each.startswith("expl")]
    )


def environment(facts: Facts) -> Section:
    """What training used."""
    cost = facts.metrics
    if "cost/kwh" not in cost:
        return Section("Environment").todo("energy and carbon of training: the run did not measure its cost.")
    rows = [
        ["device", facts.tags.get("lantu.device", "not known")],
        ["device time", format_duration(3600 * cost["cost/device_hours"])],
        ["energy", format_energy(cost["cost/kwh"])],
        ["carbon dioxide equivalent", format_mass(cost["cost/co2e_kg"])],
        ["price", format_money(cost["cost/usd"])],
    ]
    return Section("Environment").table(["of training", ""], rows)


def versions(facts: Facts) -> Section:
    """What it was made with."""
    rows = [[name, facts.packages[name]] for name in SHOWN_PACKAGES if name in facts.packages]
    for name, tag in (("Python", "lantu.python"), ("platform", "lantu.platform"), ("code", "mlflow.source.git.commit")):
        if facts.tags.get(tag):
            rows.append([name, facts.tags[tag]])
    return Section("Versions").table(["", "version"], rows)


def contact() -> Section:
    """Who answers for it."""
    return Section("Contact").todo("who made it, who answers for it, and where to ask.")


def _found(each: dict[str, object]) -> str:
    return f"{each['count']:,} {each['what']}" if "count" in each else str(each["what"])


def _interval(name: str, facts: Facts) -> str:
    """A metric's 95% interval in words: from the test examples, or as the run logged it."""
    low, high, *_ = facts.intervals.get(
        name, (facts.metrics.get(f"{name}_low"), facts.metrics.get(f"{name}_high"), None)
    )
    return "not known" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _is_a_limit(name: str, facts: Facts) -> bool:
    """Whether a metric is an end of another one's interval."""
    return name.endswith(("_low", "_high")) and name.rpartition("_")[0] in facts.metrics


def _limit(value: object) -> object:
    return "no limit" if value in (None, -1) else value


def _is_of_a_group(name: str) -> bool:
    return name.startswith(("test/", "fairness/")) and (
        name.count("/") > 1 or "=" in name or name.startswith("fairness/")
    )


def _commit(facts: Facts) -> bool:
    return bool(facts.tags.get("mlflow.source.git.commit"))
