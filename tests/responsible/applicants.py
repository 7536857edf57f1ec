"""Rows to train on whose distribution a test can move."""

import numpy as np
import pandas as pd


def applicants(count: int, *, seed: int, shift: float = 0.0) -> pd.DataFrame:
    """Rows whose `status` follows from `income`, `age` and `home`; `shift` moves the income, in deviations."""
    random = np.random.default_rng(seed)
    income = random.normal(30 + 8 * shift, 8, count).round(2)
    age = random.integers(20, 70, count)
    home = random.choice(["rent", "own", "parents"], count)
    score = (income - 30 - 8 * shift) / 8 + (age - 45) / 30 + (home == "own") + random.normal(0, 0.5, count)
    gaps = np.where(random.random(count) < 0.1, np.nan, age)
    return pd.DataFrame({"income": income, "age": gaps, "home": home, "status": np.where(score > 0.3, "good", "bad")})
