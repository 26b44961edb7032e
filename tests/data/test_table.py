"""Tables of cells as spreadsheets, R and other programs write them: read rightly, or refused."""

import numpy as np
import pandas as pd
import pytest

from moesimvae.data import recipe as recipes
from moesimvae.data.cells import read_cells
from sentences import error

VALUES = np.float32([[1.5, 2], [3, 4.25], [0.5, 6]])


def read(folder, text, name="a.csv", **more):
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return read_cells(folder / name, **more)


def told(folder, text):
    """What is said of a table, by the reader or where features are chosen."""
    return error(lambda: recipes.choose(read(folder, text)))


# ---------------------------------------------------------------------- separators at the end


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("head", [0, 1, 3])
@pytest.mark.parametrize("lines", [0, 1, 3])
@pytest.mark.parametrize("cells", ["none", "named", "R"])
def test_separators_at_the_end_are_no_columns(tmp_path, separator, head, lines, cells):
    first = {"none": [], "named": ["cell"], "R": []}[cells]
    named = [] if cells == "none" else [["c0"], ["c1"], ["c2"]]
    rows = [[*first, "CD3", "CD4"], ["1.5", "2"], ["3", "4.25"], ["0.5", "6"]]
    rows[1:] = [name + row for name, row in zip(named or [[]] * 3, rows[1:], strict=True)]
    ends = [separator * head] + [separator * lines] * 3
    text = "".join(separator.join(row) + end + "\n" for row, end in zip(rows, ends, strict=True))
    if cells == "R" and head > lines:  # the name that lacks may be the first or the last
        assert "column without a name (number 3 of" in told(tmp_path, text)
        return
    found = read(tmp_path, text).cells
    np.testing.assert_array_equal(found.X, VALUES)
    assert list(found.var_names) == ["CD3", "CD4"]
    assert list(found.obs_names) == (["0", "1", "2"] if cells == "none" else ["c0", "c1", "c2"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("CD3,CD4\n1,2,\n3,4\n", "line 3 has 2 fields, but line 2 has 3"),
        ("CD3,CD4\n1,2\n3,4,\n", "line 3 has 3 fields, but line 2 has 2"),
        ("CD3,CD4\n1.5,2,5\n3,4,\n", "names 2 columns in its first line but has 3 fields"),
        ("CD3,CD4,CD8\n1,2,3\n1,2\n", "line 3 has 2 fields, but line 2 has 3"),
        ('CD3,CD4\n"1",2\n3\n', "line 3 has 1 fields, but line 2 has 2"),
        ("CD3,CD4,CD8\n1,2\n1,2\n", "names 3 columns, but the lines below have 2"),
        ("CD3,CD4\n1,2\n,\n", "line 3 contains only separators"),
        ("CD3,CD4\n1,2\nCD3,CD4\n3,4\n", "line 3 repeats the header"),
        ("CD3\n1\n\n3\n", "line 3 is empty"),
        ("CD3,,CD4\n1,2,3\n", "a column without a name (number 2 of 3"),
        ("who,CD3,CD4\na,1,2,\nb,3,4,\n", "'who' may name the first column or the second"),
        ("CD3,CD4\n1,5,2\n2,7,3\n9,1,1\n", "names 2 columns in its first line but has 3 fields"),
        ("cell,CD3\na,1,5\nb,2,5\n", "names 2 columns in its first line but has 3 fields"),
        ("CD3\tCD4\n1\t1\t2\n1\t3\t4\n", "names 2 columns in its first line but has 3"),
        ("CD3\tCD4\n1.5\t1\t2\n1\t3\t4\n", "names 2 columns in its first line but has 3"),
        ("# of today\nCD3,CD4\n1,2\n", "begins with a comment ('# of today')"),
        ('"CD3,CD4"\n"1,2"\n"3,4"\n', "quotes around whole lines"),
        ("CD3 CD4\n1 2\n3 4\n", "single column"),
        ("CD3,CD4\nms,a.u.\n1,2\n3,4\n", "cell number 0 (counted from 0) has text ('ms' in CD3)"),
        ("file,CD3\na.fcs,1\nb.fcs,2\nMean,1.5\nSD,0.7\n", "ends with summary lines (Mean, SD)"),
        ('!Series\t"x"\n"ID_REF"\t"GSM1"\n"a"\t1\n', "begins with a comment ('!Series')"),
        ("cell,CD3\na,1\n,2\n", "cell number 1 (counted from 0) has an empty name"),
    ],
)
def test_lines_that_do_not_fit_are_refused(tmp_path, text, words):
    assert words in told(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        'cell, "CD3", "CD4"\nc0, 1.5, 2\nc1, 3, 4.25\nc2, 0.5, 6\n',
        'cell, "CD3", "CD4"\nc0, "1.5", "2"\nc1, "3", "4.25"\nc2, "0.5", "6"\n',
        "'cell','CD3','CD4'\n'c0',1.5,2\n'c1',3,4.25\n'c2',0.5,6\n",
        'sep=;\r\n"cell";"CD3";"CD4"\r\nc0;1.5;2\r\nc1;3;4.25\r\nc2;0.5;6\r\n',
        '"sep=|"\ncell|CD3|CD4\nc0|1.5|2\nc1|3|4.25\nc2|0.5|6\n',
        '\ufeff"cell","CD3","CD4"\nc0,1.5,2\n\nc1,3,4.25\nc2,0.5,6\n\n',
        "cell\tCD3\tCD4\rc0\t1.5\t2\rc1\t3\t4.25\rc2\t0.5\t6\r",
        '"CD3"\t"CD4"\n"c0"\t1.5\t2\n"c1"\t3\t4.25\n"c2"\t0.5\t6\n',
    ],
)
def test_quotes_blanks_and_first_lines_of_all_kinds(tmp_path, text):
    cells = read(tmp_path, text).cells
    np.testing.assert_array_equal(cells.X, VALUES)
    assert list(cells.var_names) == ["CD3", "CD4"]
    assert list(cells.obs_names) == ["c0", "c1", "c2"]


def test_cells_called_na_keep_their_names(tmp_path):
    assert list(read(tmp_path, "cell,CD3\nNA,1\nnull,2\n").cells.obs_names) == ["NA", "null"]


# ---------------------------------------------------------------------- numbers of lines


@pytest.mark.parametrize("name", ["X", "V1", "row", "rownames", "...1", "#", "no."])
def test_numbers_of_lines_name_the_cells_and_that_is_said(tmp_path, name):
    file = read(tmp_path, f"{name},CD3,CD4\n59,1.5,2\n41,3,4.25\n103,0.5,6\n")
    assert list(file.cells.obs_names) == ["59", "41", "103"]
    np.testing.assert_array_equal(file.cells.X, VALUES)
    (note,) = file.notes
    assert f"the column '{name}' numbers the lines" in note


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_a_column_without_a_name_names_the_cells(tmp_path, name):
    file = read(tmp_path, f"{name},CD3,CD4\n59,1.5,2\n41,3,4.25\n103,0.5,6\n")
    assert list(file.cells.obs_names) == ["59", "41", "103"]


@pytest.mark.parametrize(
    ("text", "suspects"),
    [
        ("X,Y,CD3\n59,1,5\n41,2,6\n7,1,1\n", "X Y"),  # a place
        ("X,CD3\n59,1\n59,2\n", "X"),  # lines of two files
        ("X,CD3\n0.5,1\n0.25,2\n", "X"),
        (",X,CD3\na,9,1\nb,7,2\n", "X"),
        ("n2,CD3\n" + "".join(f"{3 * i + i % 2},{i % 4}\n" for i in range(20)), "n2"),
        ("CD3,n2\n" + "".join(f"{i % 4},{i + 100}\n" for i in range(20)), "n2"),
    ],
)
def test_numbers_that_may_be_those_of_lines_are_suspects(tmp_path, text, suspects):
    assert f"leave them out with --drop {suspects}, or" in told(tmp_path, text)


def test_a_marker_that_is_no_number_of_lines_stays(tmp_path):
    values = np.random.default_rng(0).integers(0, 9999, 20)
    text = "CD3,CD4\n" + "".join(f"{v},{i % 3}\n" for i, v in enumerate(values))
    assert recipes.choose(read(tmp_path, text)) == ["CD3", "CD4"]
    text = "protein,area\n" + "15,2\n25,3\n15,4\n"
    assert recipes.choose(read(tmp_path, text)) == ["protein", "area"]
    text = "V1,V2\n" + "".join(f"{v},{i % 3}\n" for i, v in enumerate(values))
    assert recipes.choose(read(tmp_path, text)) == ["V1", "V2"]


# ---------------------------------------------------------------------- numbers written otherwise


@pytest.mark.parametrize(
    ("values", "words", "never"),
    [
        (["8,004", "78,326"], "(8,004 for 8004) or be a decimal comma (8,004 for 8.004)", "--drop"),
        (["8,004", "999", "12"], "(8,004 for 8004) or be a decimal comma", "--drop"),
        (["1,008,004", "8,004"], "commas as thousands separators", "decimal"),
        (["8,004.5", "12,000.25"], "commas as thousands separators", "decimal"),
        (["8,004", "78,3"], "a decimal comma in CD3", "thousands"),
        (["0,004", "0,326"], "a decimal comma in CD3", "thousands"),
        (["1,5e-3", "2,5"], "a decimal comma in CD3", "thousands"),
        (["1.234.567", "1.234"], "points as thousands separators", "--drop"),
        (["1.234,5", "12,5"], "points as thousands separators", "--drop"),
        (["1 234", "12", "56 789"], "spaces or apostrophes as thousands separators", "--drop"),
        (["1\u00a0234", "12 345"], "spaces or apostrophes as thousands separators", "--drop"),
        (["1'234", "56’789"], "spaces or apostrophes as thousands separators", "--drop"),
        (["12%", "7.5 %"], "percent signs", "--drop"),
        (["12 ms", "7.5 ms"], "units after numbers", "--drop"),
        (["<0.5", "7.5"], "columns that are not numeric (CD3; cell number 0 has '<0.5'", "comma"),
        (["1.5±0.1", "2±1"], "not numeric (CD3; cell number 0 has '1.5±0.1'", "comma"),
        (["0x1F", "0x2A"], "not numeric (CD3; cell number 0 has '0x1F'", "comma"),
        (["12:00:01", "12:00:02"], "not numeric (CD3; cell number 0 has '12:00:01'", "comma"),
        (["True", "False"], "columns that are not numeric (CD3; cell number 0 has 'True'", "comma"),
    ],
)
def test_numbers_written_in_other_ways(tmp_path, values, words, never):
    for text in (
        "CD4;CD3\n" + "".join(f"{i};{value}\n" for i, value in enumerate(values)),
        "CD3;CD4\n" + "".join(f"{value};0.5\n" for value in values),  # nor names of cells
    ):
        sentence = told(tmp_path, text)
        assert words in sentence
        assert never not in sentence


def test_new_cells_with_decimal_commas_are_told_as_those_to_cluster(tmp_path):
    recipe, _ = recipes.make(read(tmp_path, "CD3,CD4\n1.5,2\n3,4\n"), ["CD3", "CD4"])
    new = read(tmp_path, "CD3;CD4\n1,5;2,5\n3,0;4,5\n", "b.csv")
    sentence = error(recipes.prepared, new, recipe)
    assert "has a decimal comma in CD3, CD4 (cell number 0 has '1,5' in CD3); write" in sentence
    new = read(tmp_path, "CD3,CD4\n1,x\n2,y\n", "b.csv")
    assert "text in features that the model needs (CD4; cell" in error(
        recipes.prepared, new, recipe
    )
    new = read(tmp_path, "cell,type\na,x\nb,y\n", "b.csv")
    assert "(CD3, CD4); it has none." in error(recipes.prepared, new, recipe)


# ---------------------------------------------------------------------- any table at all


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("index", [False, True])
def test_what_pandas_writes_is_read_back(tmp_path, separator, index):
    table = pd.DataFrame(
        np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32),
        [f"c{i}, of 'x'" for i in range(20)],
        ['CD3 "total"', "CD4, CD8", "F4/80;x"],
    )
    cells = read(tmp_path, table.to_csv(sep=separator, index=index)).cells
    np.testing.assert_allclose(cells.X, table, rtol=1e-6)
    assert list(cells.var_names) == list(table)
    assert list(cells.obs_names) == list(table.index if index else map(str, range(20)))


def test_nothing_but_results_of_earlier_programs_can_be_taken_by_name(tmp_path):
    file = read(tmp_path, "PC1,PC2\n1,2\n3,4\n")
    sentence = error(recipes.choose, file)
    assert "only columns that do not look like markers (PC1, PC2)" in sentence
    assert "--drop" not in sentence  # which would leave nothing
    assert recipes.choose(file, features=["*"]) == ["PC1", "PC2"]
