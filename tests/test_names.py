"""Names that nobody knows are answered by those that were perhaps meant."""

import pandas as pd
import pytest

from moesimvae.errors import UserError
from moesimvae.names import hint, listed, near, near_or_all, require_unique


def test_near_names_are_told_in_whatever_case_the_likest_first():
    assert near("CD45ra", ["CD4", "cd45RA", "CD45RO", "DNA1"]) == ["cd45RA", "CD45RO", "CD4"]
    assert near("CD45ra", ["CD45RA", "CD45RO"], most=1) == ["CD45RA"]
    assert near("x", ["CD45RA"]) == []
    assert near(7, [17, 71, "seven"]) == ["71", "17"]


def test_where_none_is_near_all_or_the_first_are_told():
    assert near_or_all("kmean", ["gmm", "kmeans"]) == "kmeans"
    assert near_or_all("x", ["kmeans", "gmm"]) == "gmm, kmeans"
    assert hint("kmean", ["gmm", "kmeans"]) == "did you mean kmeans"
    assert hint("x", [f"gene{i}" for i in range(9)]).endswith("gene7 and 1 more")
    assert hint("x", []) == "it has none"
    assert listed(range(3), most=2) == "0, 1 and 1 more"


def test_a_name_that_stands_twice_is_told_with_its_places():
    require_unique(pd.Index(["a", "b"]), "the cell")
    with pytest.raises(UserError, match=r"the cell 'b' occurs twice \(numbers 1 and 3, counting"):
        require_unique(pd.Index(["a", "b", "c", "b"]), "the cell")
