"""Spillover taken away, by the matrix of a file or of a csv."""

import numpy as np
import pytest

from moesimvae.data.compensation import Spillover, asked_for, compensate, of_csv, of_keyword
from sentences import error

NAMES = ["FITC-A", "PE-A"]
MATRIX = np.array([[1, 0.25], [0.1, 1]])
TRUE = np.random.default_rng(0).gamma(2, 300, (40, 3)).astype(np.float32)
CHANNELS = ["PE-A", "Time", "FITC-A"]  # not in the matrix's order
MEASURED = TRUE.copy()
MEASURED[:, [2, 0]] = TRUE[:, [2, 0]] @ MATRIX


@pytest.mark.parametrize(
    "text",
    [
        "FITC-A,PE-A\n1,0.25\n0.1,1\n",
        ",FITC-A,PE-A\nFITC-A,1,0.25\nPE-A,0.1,1\n",
        "FITC-A :: CD3;PE-A :: CD4\n1;0.25\n0.1;1\n",
    ],
)
def test_a_csv(tmp_path, text):
    (tmp_path / "m.csv").write_text(text)
    spillover = Spillover(**asked_for(str(tmp_path / "m.csv")))
    found = compensate(MEASURED, spillover, CHANNELS, "a.fcs")
    np.testing.assert_allclose(found, TRUE, rtol=1e-4)


def test_the_keyword_of_a_file():
    spillover = of_keyword("2,FITC-A, PE-A,1,0.25,0.1,1", "a.fcs")
    assert spillover == Spillover(NAMES, MATRIX.tolist())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2,FITC-A,PE-A,1,0.25,0.1", "cannot be read"),
        ("FITC-A", "cannot be read"),
        ("2,FITC-A,PE-A,1,1,1,1", "cannot be inverted"),
    ],
)
def test_a_keyword_that_is_no_matrix(text, words):
    assert words in error(of_keyword, text, "a.fcs")


def test_what_is_no_matrix(tmp_path):
    (tmp_path / "m.csv").write_text("FITC-A,PE-A\n1,0\n")
    assert "1 rows of numbers for 2 channels" in error(of_csv, tmp_path / "m.csv")
    assert "is not a compensation matrix" in error(of_csv, tmp_path / "none.csv")


def test_a_channel_that_is_not_there():
    spillover = Spillover(["FITC-A", "APC-A"], MATRIX.tolist())
    said = error(compensate, MEASURED, spillover, CHANNELS, "a.fcs")
    assert "a.fcs lacks channels of the compensation matrix (APC-A)" in said
