from lantu.suggestions import did_you_mean, near_misses

NAMES = ["optimizer.lr", "optimizer.weight_decay", "trainer.max_epochs", "data.batch_size", "model.dropout"]


def test_a_typo_in_the_last_part_is_recognised() -> None:
    assert near_misses("optimizer.wieght_decay", NAMES) == ["optimizer.weight_decay"]


def test_initials_are_recognised() -> None:
    assert near_misses("optimizer.wd", NAMES) == ["optimizer.weight_decay"]


def test_a_name_given_without_its_group_is_recognised() -> None:
    assert near_misses("batch_size", NAMES)[0] == "data.batch_size"


def test_nothing_is_suggested_for_a_name_like_no_other() -> None:
    assert did_you_mean("zzzz", NAMES) == ""


def test_a_name_in_other_case_is_recognised() -> None:
    assert near_misses("Y", ["a", "kind", "y"]) == ["y"]
