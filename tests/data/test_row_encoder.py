"""A row that is encoded in plain Python has the same bits as in a data frame."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lantu.data.cleaning_report import Report
from lantu.data.table.encode_columns import encode
from lantu.data.table.learn_columns import learn
from lantu.data.table.row_encoder import RowEncoder
from lantu.errors import UserError

N = 120
ROWS = pd.DataFrame(
    {
        "age": [str(18 + each % 60) for each in range(N)],
        "income": [None if each % 7 == 0 else f"{1000 + 37.25 * each}" for each in range(N)],
        "price": [f"{each},{each % 10}" for each in range(N)],
        "home": [["rent", "Own", "free", None][each % 4] for each in range(N)],
        "member": [["yes", "no"][each % 3 == 0] for each in range(N)],
        "paid": [str(each % 2) for each in range(N)],
        "since": [f"20{10 + each % 9}-0{1 + each % 9}-1{each % 9}" for each in range(N)],
    }
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.floats(width=64, allow_infinity=False),
    st.text(alphabet="0123456789.,-+eE ", max_size=9),
    st.sampled_from([*ROWS.stack().tolist(), "", "n/a", " RENT ", "1.234,5", "3 kg", "(7)", "1e400", "YES", "0x1f"]),
)  # fmt: skip


@pytest.mark.parametrize("scale", ["standard", "quantile"])
def test_a_row_alone_has_the_bits_of_a_table_of_that_row(scale: str) -> None:
    learned = learn(ROWS, Report(unit="rows"), numbers=scale)
    assert {each.kind for each in learned} >= {"number", "category", "boolean", "date"}
    encoder = RowEncoder(learned)

    @settings(max_examples=60, deadline=None)
    @given(st.fixed_dictionaries({each.name: VALUES for each in learned}))
    def check(row: dict[str, Any]) -> None:
        assert np.array_equal(encoder.encode(row), encode(pd.DataFrame([row]), learned)[0], equal_nan=True)

    check()


def test_names_are_matched_loosely_and_a_lacking_column_is_named() -> None:
    learned = learn(ROWS[["age", "home"]], Report(unit="rows"))
    encoder = RowEncoder(learned)
    assert np.array_equal(encoder.encode({" AGE": 30, "Home": "rent"}), encoder.encode({"age": 30, "home": "rent"}))
    with pytest.raises(UserError, match="lacks the column home"):
        encoder.encode({"age": math.nan})
