"""Families of wells and files that stand in for others."""

import pytest

from moesimvae import registry
from moesimvae.data import catalogue
from moesimvae.errors import UserError

FAMILY = {
    "title": "B {inhibitor} {well}",
    "wells": {"source": "https://example.org/raw/{file}"},
    "n_clusters": 15,
    "files": {
        "Staurosporine_cd4+_H05.fcs": {"hash": {"sha256": "1"}, "bytes": 5},
        "Staurosporine_nk_H05.fcs": {"hash": {"sha256": "2"}, "bytes": 6},
        "GDC-0941_nk_A09.fcs": {"hash": {"sha256": "3"}, "bytes": 7},
    },
}


def folder_of(path, *names):
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).write_bytes(b"FCS3.0")
    return str(path)


def refused(*arguments):
    with pytest.raises(UserError) as caught:
        catalogue.resolve(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_inhibitor_and_well_is_a_data_set():
    blocks = catalogue.resolve({"before": {"title": "x"}, "b": FAMILY, "after": {}}, {"b": None})
    assert list(blocks) == ["before", "b_gdc_0941_a09", "b_staurosporine_h05", "after"]
    well = blocks["b_staurosporine_h05"]
    assert well["title"] == "B Staurosporine H05"
    assert (well["family"], well["inhibitor"], well["well"]) == ("b", "Staurosporine", "H05")
    assert (well["folder"], well["n_clusters"]) == ("b", 15)
    assert "wells" not in well
    assert "local" not in well
    assert well["files"] == {
        "cd4+": {
            "name": "Staurosporine_cd4+_H05.fcs",
            "sources": ["https://example.org/raw/Staurosporine_cd4%2B_H05.fcs"],
            "hash": {"sha256": "1"},
            "bytes": 5,
        },
        "nk": {
            "name": "Staurosporine_nk_H05.fcs",
            "sources": ["https://example.org/raw/Staurosporine_nk_H05.fcs"],
            "hash": {"sha256": "2"},
            "bytes": 6,
        },
    }


def test_every_value_of_a_grid_is_a_data_set():
    block = {
        "title": "{n_components} Gaussians",
        "simulate": {"simulator": "gaussians", "seed": 1},
        "grid": {"n_components": [2, 5]},
        "n_clusters": "n_components",
    }
    blocks = catalogue.resolve({"s": block, "t": block | {"n_clusters": 40}}, {})
    assert list(blocks) == ["s_2", "s_5", "t_2", "t_5"]
    assert [b["n_clusters"] for b in blocks.values()] == [2, 5, 40, 40]
    assert blocks["s_5"]["title"] == "5 Gaussians"
    assert blocks["t_2"]["simulate"] == block["simulate"] | {"n_components": 2}
    assert blocks["t_5"]["family"] == "t"
    assert "grid" not in blocks["s_2"]


def test_a_folder_takes_the_place_of_the_known_files(tmp_path):
    names = ["My_drug_cd8+_C11.fcs", "My_drug_nk_C11.FCS", "other_nk_C1.fcs"]
    place = folder_of(tmp_path / "export", *names, "readme.txt", "._hidden_nk_C1.fcs")
    blocks = catalogue.resolve({"b": FAMILY}, {"b": place})
    assert list(blocks) == ["b_my_drug_c11", "b_other_c1"]
    well = blocks["b_my_drug_c11"]
    assert well["local"] == place
    assert well["inhibitor"] == "My_drug"
    assert well["files"]["cd8+"] == {"name": "My_drug_cd8+_C11.fcs", "hash": "unknown"}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            [],
            "contains no FCS files; give one with files named <inhibitor>_<population>_<well>.fcs",
        ),
        (["a_nk_H05.fcs", "cells.fcs"], "cells.fcs is not named <inhibitor>_<population>_<well>"),
        (
            ["a_nk_H05.fcs", "A_nk_H05.fcs"],
            "belongs to the data set b_a_h05, which already has files of",
        ),
        (
            ["a-1_nk_H05.fcs", "a.1_cd4_H05.fcs"],
            "belongs to the data set b_a_1_h05, which already has files",
        ),
    ],
)
def test_a_folder_that_is_no_export_is_told(tmp_path, names, told):
    assert told in refused({"b": FAMILY}, {"b": folder_of(tmp_path / "export", *names)})


def test_a_missing_folder_is_told(tmp_path):
    sentence = refused({"b": FAMILY}, {"b": str(tmp_path / "nowhere")})
    assert "config key 'b': the folder" in sentence
    assert "cannot be read (No such file or directory)" in sentence


def test_files_in_place_of_others_where_the_user_has_them_all(tmp_path):
    other = {"reader": "b", "files": {"x": {"name": "one.fcs"}, "y": {"name": "two.fcs"}}}
    block = {"reader": "a", "folder": "f", "files": {"z": {"name": "z.zip"}}, "instead": other}
    own = {key: value for key, value in block.items() if key != "instead"}
    config = {"mirror": str(tmp_path), "downloads": str(tmp_path / "resources")}
    folder_of(tmp_path, "one.fcs")
    assert catalogue.resolve({"s": block}, config) == {"s": own}
    folder_of(tmp_path / "f", "two.fcs")
    assert catalogue.resolve({"s": block}, config) == {"s": own | other}
    assert catalogue.resolve({"s": block}, {"mirror": "https://example.org"}) == {"s": own}
    assert catalogue.resolve({"s": block | {"instead": None}}, config) == {"s": own}


def test_the_public_wells_are_four_of_fourteen_populations(root):
    blocks = catalogue.resolve(registry.load(root / "workflow/registry/datasets.yaml"), {})
    wells = [block for block in blocks.values() if block.get("family") == "bodenmiller"]
    assert [well["well"] for well in wells] == ["H01", "H05", "H08", "H12"]
    assert [len(well["files"]) for well in wells] == [14] * 4
    assert len({tuple(well["files"]) for well in wells}) == 1
    assert all(len(well["cytometry"]["markers"]) == 9 for well in wells)
