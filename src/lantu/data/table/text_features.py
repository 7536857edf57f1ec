"""Short free text as a few numbers: TF-IDF weights of its words, projected on their principal components."""

from typing import Any

import numpy as np
import pandas as pd

COMPONENTS = 16
MOST_WORDS = 2_000
"""The words, of those in at least `LEAST_TEXTS` training texts, that are told apart."""
LEAST_TEXTS = 3


class TextFeatures:
    """Latent semantic analysis (Deerwester et al. 1990), learned on the training texts.

    Args:
        state: plain values as `learn` gives them: vocabulary, idf (words,) and components (K, words) as lists.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    @staticmethod
    def width(state: dict[str, Any]) -> int:
        """How many features a state gives."""
        return len(state.get("components", []))

    @classmethod
    def learn(cls, texts: pd.Series) -> "TextFeatures":
        """Of texts (N,); no features where too few words occur in several of them."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        weights = TfidfVectorizer(max_features=MOST_WORDS, min_df=min(LEAST_TEXTS, len(texts)), sublinear_tf=True)
        try:
            x = weights.fit_transform(texts)
        except ValueError:  # no word is left
            return cls({})
        count = min(COMPONENTS, x.shape[1] - 1, x.shape[0] - 1)
        if count < 1:
            return cls({})
        components = TruncatedSVD(count, random_state=0).fit(x).components_
        scale = (x @ components.T).std(axis=0)
        components = components / np.where(scale > 0, scale, 1.0)[:, None]
        return cls(
            {
                "words": [str(word) for word in weights.get_feature_names_out()],
                "idf": weights.idf_.tolist(),
                "components": components.round(6).tolist(),
            }
        )

    def encode(self, texts: pd.Series) -> np.ndarray:
        """(N, K) float64, of about unit scale; zeros for a missing text."""
        if not self.state:
            return np.zeros((len(texts), 0))
        from sklearn.feature_extraction.text import TfidfVectorizer

        weights = TfidfVectorizer(vocabulary=self.state["words"], sublinear_tf=True)
        weights.idf_ = np.asarray(self.state["idf"])
        return weights.transform(texts.fillna("")) @ np.asarray(self.state["components"]).T
