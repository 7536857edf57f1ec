"""What a model that writes answers has to beat on the same held-out questions: the nearest known question's answer.

    python scripts/bench/answers.py [OVERRIDE ...]

A held-out question is answered with the answer of the training question that is nearest to it, by the cosine of TF-IDF
weights of 1 to 4 characters; and, for comparison, with the commonest training answer of its language. Prints the scores
that a run logs: over all test questions, over those that have an answer which also occurs in training, and by language.
"""

import sys

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

import lantu
from lantu.config.build import build
from lantu.tasks.answer_scores import answer_scores


def nearest(known: pd.DataFrame, asked: pd.DataFrame) -> list[str]:
    """The first answer of the nearest known question."""
    weights = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), sublinear_tf=True)
    rows = weights.fit_transform(known["question"])
    near = (weights.transform(asked["question"]) @ rows.T).toarray().argmax(axis=1)
    return [known["answers"].iloc[row][0] for row in near]


def commonest(known: pd.DataFrame, asked: pd.DataFrame) -> list[str]:
    each = known.explode("answers").groupby("language")["answers"].agg(lambda values: values.mode().iloc[0])
    return [each.get(language, "") for language in asked["language"]]


def main(overrides: list[str]) -> None:
    data = build(lantu.compose("data=chatterbot_answers", "model=gpt", *overrides).cfg.data)
    data.setup("fit")
    known, asked = data.references["train"], data.references["test"]
    trained = {answer for answers in known["answers"] for answer in answers}
    familiar = np.array([any(answer in trained for answer in answers) for answers in asked["answers"]])
    print(f"{len(asked)} questions, {familiar.mean():.3f} of them with an answer that occurs in training")
    for answer in (nearest, commonest):
        scores = answer_scores(answer(known, asked), asked["answers"].tolist())
        print(answer.__name__, {name: round(float(each.mean()), 3) for name, each in scores.items()})
        print("  answer known  ", {name: round(float(each[familiar].mean()), 3) for name, each in scores.items()})
        by_language = pd.Series(scores["chrf"]).groupby(asked["language"]).mean()
        often = asked["language"].value_counts()[lambda count: count >= 20].index
        print("  chrf", by_language[often].round(3).to_dict())


if __name__ == "__main__":
    main(sys.argv[1:])
