"""FCS files of every version, and the readers that make data sets of cytometry files."""

import gzip
import io
import json
import zipfile
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moesimvae import registry
from moesimvae.data import catalogue, cytometry, dataset, readers
from moesimvae.data.fcs import read_fcs
from moesimvae.data.prepare import prepare
from moesimvae.errors import UserError
from moesimvae.files import read_json
from moesimvae.nouns import DataSet
from sentences import error

FORMATS = {"F": "f4", "D": "f8", "I": "u2"}
VALUES = np.array([[1, 20, 0], [3, 40, 1], [5, 60, 2], [7, 80, 2]])


def read(block, raw_files):
    return readers.read(DataSet.of(block), raw_files)


def fcs(values, channels, markers=None, version="3.1", kind="F", order="<", **text):
    """An FCS file's bytes, written from the standard and not with the library that reads them."""
    values = np.asarray(values)
    keywords = {
        "$PAR": values.shape[1],
        "$TOT": len(values),
        "$MODE": "L",
        "$DATATYPE": kind,
        "$BYTEORD": "1,2,3,4" if order == "<" else "4,3,2,1",
        "$NEXTDATA": 0,
    }
    for i, name in enumerate(channels, start=1):
        bits = 8 * np.dtype(FORMATS[kind]).itemsize
        keywords |= {f"$P{i}N": name, f"$P{i}B": bits, f"$P{i}R": 1024, f"$P{i}E": "0,0"}
        if markers and markers[i - 1]:
            keywords[f"$P{i}S"] = markers[i - 1]
    keywords |= text
    data = values.astype(order + FORMATS[kind]).tobytes()
    body = "|" + "".join(f"{key}|{value}|" for key, value in keywords.items())
    places = "" if version == "2.0" else "$BEGINDATA|{:08d}|$ENDDATA|{:08d}|"
    begin = 58 + len(body) + len(places.format(0, 0))
    end = begin + len(data) - 1
    body += places.format(begin, end)
    head = f"FCS{version}    " + "".join(
        f"{place:>8}" for place in (58, 58 + len(body) - 1, begin, end, 0, 0)
    )
    return head.encode() + body.encode() + data


def write(path, *arguments, **more):
    path.write_bytes(fcs(*arguments, **more))
    return path


def block(**settings):
    return {"title": "T", "reader": "cytometry", "cytometry": {"instrument": "mass"} | settings}


def wanted(**settings):
    return DataSet.of(block(**settings))


# ---------------------------------------------------------------------- FCS


@pytest.mark.parametrize("version", ["2.0", "3.0", "3.1"])
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("order", "<>")
def test_every_version_and_kind_of_number(tmp_path, version, kind, order):
    content = fcs(VALUES, ["A", "B", "C"], ["CD3", "CD4", ""], version, kind, order)
    for source in (write_bytes(tmp_path / "a.fcs", content), io.BytesIO(content)):
        file = read_fcs(source, "a.fcs")
        np.testing.assert_array_equal(file.values, VALUES)
        assert (file.names, file.channels) == (["CD3", "CD4", "C"], ["A", "B", "C"])
        assert (file.version, file.compensation, file.fluorescence) == (version, "", False)


def write_bytes(path, content):
    path.write_bytes(content)
    return path


def test_integers_of_a_logarithmic_amplifier(tmp_path):
    path = write(tmp_path / "a.fcs", [[0], [512], [1023]], ["FL1"], kind="I", **{"$P1E": "4,1"})
    expected = 10 ** (4 * np.array([[0], [512], [1023]]) / 1024)
    np.testing.assert_allclose(read_fcs(path).values, expected, rtol=1e-5)


@pytest.mark.parametrize("keyword", ["$SPILLOVER", "SPILL", "$COMP"])
def test_the_keyword_of_a_compensation_matrix(tmp_path, keyword):
    matrix = {keyword: "2,FL1,FL2,1,0.1,0,1"}
    path = write(tmp_path / "a.fcs", VALUES, ["FSC-A", "FL1", "FL2"], **matrix)
    file = read_fcs(path)
    assert file.compensation == keyword.strip("$")
    assert file.fluorescence
    np.testing.assert_array_equal(file.values, VALUES)


WHOLE = fcs(VALUES, ["A", "B", "C"])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"cell,CD3\na,1\n", "starts with b'cell,C' instead of FCS2.0, FCS3.0, FCS3.1, FCS3.2"),
        (b"", "starts with b'' instead"),
        (b"FCS3.3" + WHOLE[6:], "starts with b'FCS3.3' instead"),
        (WHOLE[:-5], "4 events of 12 bytes do not fit into 43 bytes"),
        (WHOLE[:100], "is not a readable FCS file"),
        (WHOLE.replace(b"$TOT|4|", b"$TOT|5|"), "5 events of 12 bytes do not fit into 48 bytes"),
    ],
)
def test_no_fcs_file_and_damaged_ones(tmp_path, content, told):
    path = write_bytes(tmp_path / "a.fcs", content)
    sentence = error(read_fcs, path)
    assert told in sentence
    assert str(path) in sentence
    with pytest.raises(UserError, match=r"x\.zip/a\.fcs is not a readable FCS file"):
        read_fcs(io.BytesIO(content), "x.zip/a.fcs")


@settings(deadline=None, max_examples=50)
@given(at=st.integers(0, len(WHOLE)), byte=st.integers(0, 255))
def test_a_file_with_one_byte_changed_is_read_or_told(at, byte):
    content = WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    with suppress(UserError):
        assert read_fcs(io.BytesIO(content), "a").values.dtype == np.float32


# ---------------------------------------------------------------------- cells with a label column


@pytest.fixture
def labelled(tmp_path):
    """Five cells of two markers: populations 1, 2, none (0), 2 and none (not a number)."""
    values = [[1, 10, 1.5, 1], [2, 20, 2.5, 2], [3, 30, 3.5, 0], [4, 40, 4, 2], [5, 50, 5, np.nan]]
    return write(
        tmp_path / "a.fcs", values, ["X1", "X2", "T", "L"], ["CD3", "CD4", "Time", "label"]
    )


def test_markers_and_populations_by_name(labelled):
    wanted = block(markers=["CD4", "X1"], populations={1: "B cells", 2: "T cells"})
    cells, labels = read(wanted, {"cells": labelled})
    assert list(cells.var_names) == ["CD4", "CD3"]
    assert list(cells.var["channel"]) == ["X2", "X1"]
    np.testing.assert_array_equal(cells.X, [[10, 1], [20, 2], [30, 3], [40, 4], [50, 5]])
    assert labels["label"].tolist() == ["B cells", "T cells", "", "T cells", ""]
    assert labels["scored"].tolist() == [True, True, False, True, False]
    assert labels["cell"].tolist() == list(cells.obs_names) == [f"cell_{i}" for i in range(1, 6)]
    assert cells.uns["instrument"] == "mass"
    assert json.loads(cells.uns["panel"])["left_out"] == ["Time", "label"]


def test_all_markers_but_the_named_channels_and_the_label(labelled):
    cells, labels = read(block(not_markers=["Time"]), {"cells": labelled})
    assert list(cells.var_names) == ["CD3", "CD4"]
    assert labels["label"].tolist() == ["1", "2", "", "2", ""]


def test_a_table_with_names_of_populations(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(
        gzip.compress(b"CD3,CD4,gate\n1,2,T cells\n3,4,\n5,6,B cells\n7,8,unassigned\n")
    )
    for populations in ((), ["B cells", "T cells"]):
        wanted = block(label="gate", populations=populations)
        cells, labels = read(wanted, {"cells": path})
        np.testing.assert_array_equal(cells.X, [[1, 2], [3, 4], [5, 6], [7, 8]])
        assert labels["label"].tolist() == ["T cells", "", "B cells", ""]


def test_several_files_of_one_panel_in_another_order(tmp_path):
    first = write(tmp_path / "a.fcs", VALUES, ["CD3", "CD4", "label"])
    second = write(tmp_path / "b.fcs", VALUES[:2, ::-1], ["label", "CD4", "CD3"])
    cells, labels = read(block(), {"a": first, "b": second})
    np.testing.assert_array_equal(cells.X, np.vstack([VALUES[:, :2], VALUES[:2, :2]]))
    assert labels["label"].tolist() == ["", "1", "2", "2", "", "1"]


def test_two_files_with_different_panels_are_told(tmp_path):
    first = write(tmp_path / "a.fcs", VALUES, ["CD3", "CD4", "label"])
    second = write(tmp_path / "b.fcs", VALUES, ["CD3", "CD8", "label"])
    sentence = error(read, block(), {"a": first, "b": second})
    assert "b.fcs has a different panel from" in sentence
    assert "it lacks CD4 and also has CD8" in sentence


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"markers": ["CD3", "cd 4"]}, "has no marker or channel 'cd 4'; did you mean CD4"),
        ({"not_markers": ["Tme"]}, "has no marker or channel 'Tme'; did you mean Time"),
        ({"label": "labels"}, "has no label column 'labels'; did you mean label"),
        ({"label": "qqq"}, "has no label column 'qqq'; it has CD3, CD4, Time, label"),
        (
            {"label": "Time"},
            "label column 'Time' starts with 1.5 and contains numbers that are not integers",
        ),
        ({"populations": {1: "B cells"}}, "names the population '2', which is not among the 1"),
        ({"populations": ["1", "22"]}, "names the population '2', which is not among the 2"),
        ({"instrument": "camera"}, "unknown instrument camera under cytometry"),
        (
            {"marker": ["CD3"]},
            "unknown key 'marker' under cytometry; allowed keys: instrument, markers",
        ),
    ],
)
def test_a_block_that_does_not_fit_its_file(labelled, settings, told):
    assert told in error(read, block(**settings), {"cells": labelled})


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ([np.nan] * 4, "the marker 'CD4' has no finite values"),
        ([1, np.nan, 2, np.inf], "the marker 'CD4' has 2 missing or infinite values in 4 cells"),
    ],
)
def test_missing_values_of_a_marker_are_told(tmp_path, column, told):
    values = VALUES.astype(float)
    values[:, 1] = column
    path = write(tmp_path / "a.fcs", values, ["CD3", "CD4", "label"])
    assert told in error(read, block(), {"cells": path})
    assert read(block(markers=["CD3"]), {"cells": path})[0].shape == (4, 1)


def test_a_file_without_cells_is_told(tmp_path):
    path = write(tmp_path / "a.fcs", np.zeros((0, 2)), ["CD3", "label"])
    assert "has no cells" in error(read, block(), {"cells": path})


# ---------------------------------------------------------------------- a file for each population


def test_populations_from_the_files_in_mixed_order(tmp_path):
    raw = {
        "nk": write(tmp_path / "1.fcs", np.full((30, 2), 1), ["CD3", "CD4"]),
        "none": write(tmp_path / "2.fcs", np.zeros((0, 2)), ["CD3", "CD4"]),
        "cd4+": write(tmp_path / "3.fcs", np.full((20, 2), 2), ["CD3", "CD4"]),
    }
    cells, labels = cytometry.populations(wanted(), raw)
    expected = np.where(labels["label"] == "nk", 1, 2)
    np.testing.assert_array_equal(cells.X[:, 0], expected)
    assert labels["label"].value_counts().to_dict() == {"nk": 30, "cd4+": 20}
    assert labels["scored"].all()
    assert 0 < (labels["label"][:30] == "nk").sum() < 30
    assert cytometry.populations(wanted(), raw)[1].equals(labels)


def test_populations_that_are_not_the_blocks_own(tmp_path):
    raw = {"cd4": write(tmp_path / "1.fcs", VALUES, ["CD3", "CD4", "CD8"])}
    sentence = error(cytometry.populations, wanted(populations=["cd4+", "nk"]), raw)
    assert "the population 'cd4', which is not among the 2 of the registry block" in sentence
    assert "did you mean cd4+" in sentence


def test_files_that_hold_no_cell_at_all(tmp_path):
    raw = {p: write(tmp_path / f"{p}.fcs", np.zeros((0, 1)), ["CD3"]) for p in ("a", "b")}
    assert "there are no cells in" in error(cytometry.populations, wanted(), raw)


# ---------------------------------------------------------------------- archives with gates


GATES = (
    "BM_01_x.fcs Event 0\tB cells\nBM_01_x.fcs Event 3\tT cells\n"
    "BM_02_x.fcs Event 1\tT cells\nBM_02_x.fcs Ev\n"
)


@pytest.fixture
def archives(tmp_path):
    """Two FCS files in one archive and their gates, one line of them cut off, in another."""

    def pack(gates=GATES, name="cells.zip", **more):
        members = {
            "Panorama/BM_02_x.fcs": fcs(VALUES[:2] + 100, ["Y1", "Y2", "Y3"], ["CD3", "CD4", "T"]),
            "Panorama/BM_01_x.fcs": fcs(VALUES, ["Y1", "Y2", "Y3"], ["CD3", "CD4", "T"]),
            "__MACOSX/._BM_01_x.fcs": b"of the Finder",
            **more,
        }
        raw = {"cells": tmp_path / name, "gates": tmp_path / "gates.zip"}
        with zipfile.ZipFile(raw["cells"], "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        with zipfile.ZipFile(raw["gates"], "w") as archive:
            archive.writestr("population_assignments.txt", gates)
        return raw

    return pack


def gated(**settings):
    return wanted(not_markers=["T"], populations=["B cells", "T cells"], **settings)


def test_gates_of_archives(archives):
    cells, labels = cytometry.gates(gated(), archives())
    np.testing.assert_array_equal(cells.X, np.vstack([VALUES, VALUES[:2] + 100])[:, :2])
    assert labels["label"].tolist() == ["B cells", "", "", "T cells", "", "T cells"]
    assert labels["scored"].sum() == 3


def test_one_sample_of_archives(archives):
    cells, labels = cytometry.gates(gated(samples=["_02_"]), archives())
    np.testing.assert_array_equal(cells.X, VALUES[:2, :2] + 100)
    assert labels["label"].tolist() == ["", "T cells"]


def test_one_archive_for_everything(archives):
    raw = archives(**{"Panorama/population_assignments.txt": GATES})
    both = {"cells": raw["cells"], "gates": raw["cells"]}
    assert cytometry.gates(gated(), both)[1].equals(cytometry.gates(gated(), raw)[1])


@pytest.mark.parametrize(
    ("gates", "told"),
    [
        ("BM_01_x.fcs Event 4\tB cells\n", "population of cell 4 of BM_01_x.fcs in line 1, but"),
        (GATES + "BM_02_x.fcs Event 0\tC cells\n", "has 2 lines that do not give a cell and one"),
        (GATES + "nothing\n", "has 2 lines that do not give a cell"),
    ],
)
def test_gates_of_other_cells_are_told(archives, gates, told):
    assert told in error(cytometry.gates, gated(), archives(gates))


def test_archives_without_what_is_needed(archives, tmp_path):
    raw = archives()
    assert "FCS file with _03_ in its name" in error(cytometry.gates, gated(samples=["_03_"]), raw)
    sentence = error(cytometry.gates, gated(), {"cells": raw["cells"]})
    assert "there is no population_assignments.txt" in sentence
    raw["cells"].write_text("<html>")
    assert "cells.zip is not a readable zip archive" in error(cytometry.gates, gated(), raw)


# ---------------------------------------------------------------------- as a data set on disk


def full_block(**more):
    return (
        dict.fromkeys(DataSet.required(), "x")
        | block(not_markers=["Time"])
        | {"n_clusters": 2}
        | more
    )


def files_of(path):
    return {"cells": {"name": path.name, "hash": "unknown"}}


STEPS = [
    {"step": "arcsinh", "cofactor": 5},
    {"step": "keep", "layer": "arcsinh"},
    {"step": "minmax"},
]


def test_transformed_values_are_kept_and_scaled(labelled, tmp_path):
    wanted = full_block(files=files_of(labelled), preprocessing=STEPS)
    wanted["expects"] = {"cells": 5, "markers": 2, "populations": 2, "gated": 3}
    facts = prepare(wanted, "small", {"cells": labelled}, tmp_path / "out")
    cells = dataset.load_features(tmp_path / "out" / "features.h5ad")
    raw = np.array([[1, 10], [2, 20], [3, 30], [4, 40], [5, 50]])
    np.testing.assert_allclose(cells.layers["arcsinh"], np.arcsinh(raw / 5), rtol=1e-6)
    assert cells.layers["arcsinh"].dtype == cells.X.dtype == np.float32
    assert cells.X.min(axis=0).tolist() == [0, 0]
    assert cells.X.max(axis=0).tolist() == [1, 1]
    assert facts["instrument"] == "mass"
    assert facts["panel"]["fcs_versions"] == ["3.1"]


def test_a_constant_marker_is_clustered_and_told(tmp_path):
    values = VALUES.astype(float)
    values[:, 1] = 7
    path = write(tmp_path / "a.fcs", values, ["CD3", "CD4", "label"], SPILL="1,CD3,1")
    wanted = full_block(files=files_of(path), preprocessing=STEPS, cytometry={"instrument": "mass"})
    facts = prepare(wanted, "small", {"cells": path}, tmp_path / "out")
    assert facts["panel"]["constant_markers"] == ["CD4"]
    assert facts["panel"]["compensation"] == ["SPILL"]
    cells = dataset.load_features(tmp_path / "out" / "features.h5ad")
    assert not cells.X[:, 1].any()


@pytest.mark.parametrize(
    ("expects", "told"),
    [
        ({"cells": 6}, "contain 5 cells instead of 6"),
        ({"gated": 5, "populations": 3}, "3 gated instead of 5 and 2 populations instead of 3"),
        ({"cell": 5}, "expects cell; only these can be counted: cells, markers"),
    ],
)
def test_other_cells_than_expected_are_told(labelled, tmp_path, expects, told):
    wanted = full_block(files=files_of(labelled), preprocessing=STEPS, expects=expects)
    assert told in error(prepare, wanted, "small", {"cells": labelled}, tmp_path / "out")


def test_an_unchecked_file_of_another_kind_is_told(tmp_path):
    path = tmp_path / "cells.zip"
    path.write_text("<html>not found</html>")
    wanted = full_block(files=files_of(path), preprocessing=STEPS)
    sentence = error(prepare, wanted, "small", {"cells": path}, tmp_path / "out")
    assert "starts with b'<html>no', unlike files of its kind" in sentence


# ---------------------------------------------------------------------- real files


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("levine_32dim_subset", (60_000, 32)),
        ("levine_13dim_subset", (40_000, 13)),
        ("samusik_01_subset", (10_000, 39)),
        ("bodenmiller_staurosporine_h05", (15_792, 9)),
    ],
)
def test_real_data_sets(root, shared_data, tmp_path, name, shape):
    blocks = registry.load(root / "workflow" / "registry" / "datasets.yaml")
    wanted = catalogue.resolve(blocks, {})[name]
    folder = shared_data / catalogue.folder(name, wanted)
    raw = {role: folder / file["name"] for role, file in wanted["files"].items()}
    prepare(wanted, name, raw, tmp_path)
    cells = dataset.load_features(tmp_path / "features.h5ad")
    labels = dataset.load_labels(tmp_path / "labels.parquet")
    facts = read_json(tmp_path / "dataset.json")
    assert cells.shape == shape
    assert list(labels["cell"]) == list(cells.obs_names)
    assert facts["panel"]["constant_markers"] == facts["panel"]["compensation"] == []
    layer = pd.DataFrame(cells.layers["arcsinh"], columns=cells.var_names)
    scaled = (layer - layer.min()) / (layer.max() - layer.min())
    np.testing.assert_allclose(cells.X, scaled, atol=1e-6)
    if "bodenmiller" in name:
        assert facts["n_populations"] == 14
        assert facts["well"] == "H05"


@pytest.mark.shared
def test_the_columns_are_those_of_weber_and_robinson(root, shared_data):
    """Columns 5 to 36 and 9 to 47 of the published files, counted from 1."""
    blocks = registry.load(root / "workflow" / "registry" / "datasets.yaml")
    for name, columns in (("levine_32dim", slice(4, 36)), ("samusik_01", slice(8, 47))):
        (path,) = (shared_data / name).glob("*.fcs")
        assert read_fcs(path).names[columns] == blocks[name]["cytometry"]["markers"]
