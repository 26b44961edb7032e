"""Numbers not written plainly with a decimal point: what is odd, and what to do about it.

No advice given here may, when followed, change the value of a number.
"""

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd

_BLANKS = " \u00a0\u2009\u202f'\u2019"  # between thousands, with some lookalikes of blanks
# such as 7.8, 7,8, 1e-3, <0.5, 1 234, 12%: a column that holds any does not name cells
NUMBER = re.compile(
    rf"\s*[<>≤≥~]?\s*[+\-−]?(\d[\d.,{_BLANKS}]*|[.,]\d+)([eE][+-]?\d+)?\s*(%|[mµun]?s|a\.?u\.?)?\s*"
)
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_COMMA_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
_POINT_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d*)?")
_POINT_AND_COMMA = re.compile(r"[+-]?\d{1,3}(\.\d{3})*(,\d*)?")
_BLANK_THOUSANDS = re.compile(rf"[+-]?[1-9]\d{{0,2}}([{_BLANKS}]\d{{3}})+([.,]\d*)?")
_UNIT = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?\s*[^\d\s.,][^\d,]{0,9}")


def no_numbers(column: pd.Series) -> np.ndarray:
    """Which values of a text column ("" = missing) are not numbers."""
    return (pd.to_numeric(column, errors="coerce").isna() & (column != "")).to_numpy(dtype=bool)


def written(values: Iterable[str]) -> tuple[str, str] | None:
    """What is odd about how numbers are written, and what to do; None if they are not numbers."""
    values = [value.strip() for value in values]

    def every(*patterns: re.Pattern[str]) -> bool:
        return all(any(pattern.fullmatch(value) for pattern in patterns) for value in values)

    if every(_COMMA):
        if every(_COMMA_THOUSANDS):
            return (
                "a comma before three digits, which may separate thousands (8,004 for 8004) "
                "or be a decimal comma (8,004 for 8.004),",
                "write thousands without a comma, or decimals with a point, whichever applies",
            )
        return "a decimal comma", "write numbers with a point"
    if every(_COMMA_THOUSANDS):
        return "commas as thousands separators", "write numbers without these commas"
    if every(_POINT_AND_COMMA):
        if any(_POINT_THOUSANDS.fullmatch(value) for value in values):
            return (
                "points as thousands separators",
                "remove these points from all numbers in the file, even where a number has only "
                "one, and then write the decimal comma as a point",
            )
        return "a decimal comma", "write numbers with a point"
    if every(_BLANK_THOUSANDS):
        return "spaces or apostrophes as thousands separators", "write numbers without them"
    if all(value.endswith("%") and NUMBER.fullmatch(value) for value in values):
        return "percent signs", "write all values of a column in one unit, as plain numbers"
    if every(_UNIT):
        return "units after numbers", "write all values of a column in one unit, as plain numbers"
    return None
