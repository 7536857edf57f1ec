"""How near a written answer is to those that people gave."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from lantu.tasks.text_quality import words


def answer_scores(answers: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Scores (N,) in [0, 1] of each answer against the best fitting of its references.

    Args:
        answers: N texts.
        references: what each may be; at least one.

    Returns:
        exact_match: equal but for case and punctuation. token_f1: harmonic mean of the shares of words in common, as
        SQuAD's (Rajpurkar et al. 2016); a character of a script without spaces counts as a word. chrf: the F-score with
        beta 2 of character n-grams up to 6, without case (Popovic 2015; torchmetrics); it suits every language.
    """
    from torchmetrics.functional.text import chrf_score

    exact, f1 = np.zeros(len(answers)), np.zeros(len(answers))
    for number, (answer, accepted) in enumerate(zip(answers, references, strict=True)):
        given = [word.casefold() for word in words(answer) if word[0].isalnum()]
        for reference in accepted:
            wanted = [word.casefold() for word in words(reference) if word[0].isalnum()]
            if not given and not wanted:  # punctuation alone
                given, wanted = [answer.strip()], [reference.strip()]
            exact[number] = max(exact[number], given == wanted)
            f1[number] = max(f1[number], _f1(given, wanted))
    _, chrf = chrf_score(
        list(answers),
        [list(each) for each in references],
        n_word_order=0,
        lowercase=True,
        return_sentence_level_score=True,
    )
    return {"exact_match": exact, "token_f1": f1, "chrf": chrf.numpy()}


def _f1(given: list[str], wanted: list[str]) -> float:
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted))
