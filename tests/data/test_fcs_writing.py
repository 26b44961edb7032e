"""FCS files written again: the user's own channels as they were, results behind them."""

import flowio
import numpy as np
import pytest
import readfcs
from test_fcs import COUNTS, VALUES, fcs, integers

from moesimvae.data.fcs import read_fcs, read_segments_of
from moesimvae.data.fcs_writing import on_positive_axes, write_fcs
from sentences import error

FURTHER = {"x_cluster": np.arange(50) % 7, "x_map_1": np.linspace(0, 999.5, 50)}


@pytest.fixture
def written(tmp_path):
    def write(content):
        source = tmp_path / "source.fcs"
        source.write_bytes(content)
        write_fcs(source, FURTHER, tmp_path / "out.fcs")
        return tmp_path / "out.fcs"

    return write


def test_channels_and_keywords_stay(written):
    path = written(fcs(S_P1G="2.5", S_P2S="CD3", S_CYT="Aria/II", S_P3V="450", TUBE="7", S_COM=""))
    found = read_segments_of(path)
    assert found.version == "3.1"
    np.testing.assert_array_equal(found.values[:, :3], VALUES)
    keywords = found.keywords
    assert (keywords["$CYT"], keywords["$P3V"], keywords["TUBE"]) == ("Aria/II", "450", "7")
    assert [c.marker for c in found.channels] == ["", "CD3", "", *FURTHER]
    assert found.channels[0].gain == 2.5
    assert [c.limit for c in found.channels] == [262144] * 3 + [7, 1000]


def test_two_other_readers_find_the_same(written):
    path = written(fcs())
    expected = np.column_stack([VALUES, *FURTHER.values()]).astype(np.float32)
    np.testing.assert_array_equal(flowio.FlowData(path).as_array(preprocess=False), expected)
    np.testing.assert_array_equal(readfcs.read(path).X, expected)


def test_integers_are_the_same_numbers(written):
    path = written(integers())
    np.testing.assert_array_equal(read_segments_of(path).values[:, :3], COUNTS)


def test_what_is_logarithmic_is_written_linear(tmp_path, written):
    content = integers(S_P2E="4,1")
    path = written(content)
    before = read_fcs(tmp_path / "source.fcs").values
    np.testing.assert_allclose(read_fcs(path).values[:, :3], before, rtol=1e-6)
    assert read_segments_of(path).channels[1].limit == 10_000


def test_a_name_that_is_taken(written):
    path = written(fcs(channels=["FSC-A", "x_cluster", "PE-A"]))
    names = [channel.name for channel in read_segments_of(path).channels]
    assert names == ["FSC-A", "x_cluster", "PE-A", "x_cluster_4", "x_map_1"]


def test_another_number_of_events(tmp_path):
    (tmp_path / "a.fcs").write_bytes(fcs())
    said = error(write_fcs, tmp_path / "a.fcs", {"x": np.zeros(3)}, tmp_path / "b.fcs")
    assert "has 50 events" in said
    assert not (tmp_path / "b.fcs").exists()


def test_maps_lie_on_positive_axes():
    points = on_positive_axes(np.array([[-3.0, 1.0], [1.0, 2.0], [0.0, 0.0]]))
    np.testing.assert_allclose(points, [[0, 250], [1000, 500], [750, 0]])
