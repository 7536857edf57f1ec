"""What a model that tells languages apart has to beat on the same stretches of text: a linear classifier of n-grams.

    python scripts/bench/identification.py [OVERRIDE ...]

Naive Bayes over counts of 1 to 4 characters (scikit-learn), fitted on the training stretches. Prints its test accuracy,
the accuracy with varieties of one language counted as one, and the languages that it gets wrong most often.
"""

import sys

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.naive_bayes import MultinomialNB

import lantu
from lantu.config.build import build


def main(overrides: list[str]) -> None:
    data = build(lantu.compose("data=udhr_identification", "model=fasttext", *overrides).cfg.data)
    raw = data.source()
    texts, languages = raw.rows["text"].str.lower(), raw.rows["language"].to_numpy()
    training, testing = raw.split == "train", raw.split == "test"
    counts = HashingVectorizer(
        analyzer="char", ngram_range=(1, 4), n_features=2**18, alternate_sign=False, norm=None, dtype=np.float32
    )
    bayes = MultinomialNB(alpha=0.01).fit(counts.transform(texts[training]), languages[training])
    found, truth = bayes.predict(counts.transform(texts[testing])), languages[testing]
    code = np.vectorize(lambda name: name.partition("_")[0])
    print(f"{training.sum():,} training and {testing.sum():,} test stretches in {len(set(truth))} languages")
    print(f"accuracy {np.mean(found == truth):.4f}, of the code {np.mean(code(found) == code(truth)):.4f}")
    print(pd.Series(found == truth).groupby(truth).mean().sort_values().head(15).round(2).to_dict())


if __name__ == "__main__":
    main(sys.argv[1:])
