"""Bad input of every kind: name → (how it is made and given, what the one sentence says).

Each maker gets an empty folder and does what a user would do, which must end in a UserError.
`PWNED` is what code hidden in a file would write; no test may find it.
"""

import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path

import anndata
import flowio
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from moesimvae import config, registry
from moesimvae.commands import new_method
from moesimvae.data import catalogue, counts, own_cells, raw_file
from moesimvae.data.cells import column_as_text, read_cells
from moesimvae.data.download import fetch
from moesimvae.data.readers import read_idx
from moesimvae.errors import UserError
from moesimvae.evaluation.scores import read_labels
from moesimvae.methods import external
from moesimvae.methods.interface import Invalid
from moesimvae.model.estimator import MoESimVAE
from moesimvae.nouns import DataSet

ROOT = Path(__file__).resolve().parents[2]
PWNED = "pwned"
N = 120
VALUES = np.random.default_rng(0).poisson(3.0, (N, 4)).astype(np.float32)


class Payload:
    """Unpickled, it makes a file."""

    def __reduce__(self):
        return Path.touch, (Path(PWNED),)


# ---------------------------------------------------------------------- files


def text(folder, name, content_, encoding="utf-8"):
    path = folder / name
    path.write_bytes(content_ if isinstance(content_, bytes) else content_.encode(encoding))
    return path


def csv(content_, name="cells.csv"):
    return lambda folder: read_cells(text(folder, name, content_))


def h5ad(folder, **more):
    cells = anndata.AnnData(sp.csr_matrix(VALUES), **more)
    cells.write_h5ad(folder / "cells.h5ad")
    return folder / "cells.h5ad"


def changed_h5ad(change):
    """An h5ad in which `change` has changed the open HDF5 file."""

    def made(folder):
        path = h5ad(folder)
        with h5py.File(path, "r+") as file:
            change(file)
        return read_cells(path)

    return made


def replaced(name, **dataset):
    def change(file):
        del file[name]
        file.create_dataset(name, **dataset)

    return change


def fcs_bytes(folder, names=("CD3", "CD4"), n=N):
    values = np.ones((n, len(names)))
    with open(folder / "whole.fcs", "wb") as file:
        flowio.create_fcs(file, values.ravel(), list(names))
    return (folder / "whole.fcs").read_bytes()


def fcs(change):
    return lambda folder: read_cells(text(folder, "cells.fcs", change(fcs_bytes(folder))))


def npz(**arrays):
    def made(folder):
        np.savez(folder / "cells.npz", **arrays)
        return read_cells(folder / "cells.npz")

    return made


def packed(name, data):
    """A zip archive with one member, opened."""

    def made(folder):
        with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(name, data)
        with raw_file.archive(folder / "a.zip") as members:
            return members.namelist()

    return made


def tenx(**changes):
    """A 10x folder with the content of some files changed; None leaves one out."""
    files = {
        "matrix.mtx": "%%MatrixMarket matrix coordinate integer general\n2 3 2\n1 1 5\n2 3 1\n",
        "barcodes.tsv": "A\nB\nC\n",
        "features.tsv": "E1\tAlb\nE2\tActb\n",
    }

    def made(folder):
        place = folder / "tenx"
        place.mkdir()
        for name, content_ in (files | changes).items():
            if content_ is not None:
                text(place, name, content_)
        return read_cells(place)

    return made


def tenx_h5(**changes):
    def made(folder):
        matrix = sp.csr_matrix(VALUES)
        with h5py.File(folder / "cells.h5", "w") as file:
            group = file.create_group(changes.get("group", "matrix"))
            for name in ("data", "indices", "indptr"):
                group[name] = changes.get(name, getattr(matrix, name))
            group["shape"] = changes.get("shape", [4, N])
            group["barcodes"] = np.array([f"c{i}" for i in range(N)], "S")
            for name in ("id", "name"):
                group[f"features/{name}"] = np.array(["a", "b", "c", "d"], "S")
        return read_cells(folder / "cells.h5")

    return made


def idx(data, dimensions=3):
    return lambda folder: read_idx(text(folder, "images.idx", data), dimensions)


def table_archive(member, data):
    block = {"title": "T", "counts": {"populations": ["Liver"], "member": "{population}.csv"}}

    def made(folder):
        with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr(member, data)
        return counts.count_tables(DataSet.of(block), {"counts": folder / "a.zip"})

    return made


# ---------------------------------------------------------------------- what a user says


def checked(**settings):
    """A configuration as the workflow checks it, from the command line or a file."""

    def made(folder):
        blocks = ROOT / "workflow/registry"
        given = {
            key: value.replace("FOLDER", str(folder)) if isinstance(value, str) else value
            for key, value in settings.items()
        }
        return config.check(
            given,
            datasets=catalogue.resolve(registry.load(blocks / "datasets.yaml"), given),
            methods=registry.load(blocks / "methods.yaml"),
            metrics=registry.load(blocks / "metrics.yaml"),
            published=["table1"],
        )

    return made


def zip_with_broken_name(folder):
    with zipfile.ZipFile(folder / "a.zip", "w") as file:
        file.writestr("é.csv", "x")
    broken = (folder / "a.zip").read_bytes().replace("é".encode(), b"\xff\xff")
    with raw_file.archive(text(folder, "b.zip", broken)) as members:
        return members.namelist()


def named(name):
    """The user's own file under a name."""

    def made(folder):
        (folder / name).write_text("CD3\n1\n")
        return catalogue.resolve({}, {"data": str(folder / name)})

    return made


def experiment(name="mine", **settings):
    block = {"title": "t", "datasets": ["digits"], "methods": ["kmeans"]}
    return checked(experiments={name: block | settings})


def method(block, **files):
    """A folder with an own method."""

    def made(folder):
        for name, content_ in files.items():
            text(folder, name.replace("_py", ".py"), content_)
        text(folder, "mine.yaml", block)
        return registry.load(registry.own_methods(folder))

    return made


def output(path, n_cells):
    """A method's output is not a UserError but makes the run DNF; its reason is the sentence."""
    try:
        return external.read_labels(path, n_cells)
    except Invalid as error:
        raise UserError(str(error)) from error


def prepared(**settings):
    def made(folder):
        path = h5ad(folder, obs=pd.DataFrame({"type": ["a"] * N, "id": range(N)}).astype(str))
        own_cells.write_features("own", path, folder / "out", None, **{"clusters": 3} | settings)
        return own_cells.write_labels(path, folder / "out", settings.get("label"))

    return made


def wells(name):
    def made(folder):
        (folder / name).write_bytes(b"FCS3.0")
        block = {"wells": {"source": "-"}, "files": {}, "title": "{inhibitor} {well}"}
        return catalogue.resolve({"plate": block}, {"plate": str(folder)})

    return made


def saved_model(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload()))
    (folder / "config.json").write_bytes(pickle.dumps(Payload()))
    return MoESimVAE.load(folder)


def object_npy():
    stream = io.BytesIO()
    np.save(stream, np.array([Payload()], dtype=object), allow_pickle=True)
    return stream.getvalue()


def npz_with_objects(folder):
    with zipfile.ZipFile(folder / "cells.npz", "w") as file:
        file.writestr("X.npy", object_npy())
    return read_cells(folder / "cells.npz")


def external_values(file):
    del file["X"]
    file.create_dataset("X", (N, 4), "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def virtual_values(file):
    del file["X"]
    layout = h5py.VirtualLayout((N, 4), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "X", (N, 4))
    file.create_virtual_dataset("X", layout)


def endless_values(file):
    del file["X"]
    file.create_dataset("X", (10**6, 10**6), "f4", chunks=(1000, 1000), compression="gzip")


def wrong_indices(file):
    file["X/indices"][0] = 10**6


def huge_member():
    return b"0" * (100 << 20)


BOMB = gzip.compress(b"0," * (50 << 20), 9)
MEMBER_OF_A_LIVER = ",c1,c2\nAlb,1,2\n"

CASES = {
    # tables
    "empty csv": (csv(""), "is empty; its first line must name the features"),
    "csv of one line": (csv("CD3,CD4\n"), "has no cells"),
    "csv with a short line": (csv("a,b\n1,2,3,4\n"), "names 2 columns in its first line but has 4"),
    "csv with a long line later": (csv("a,b\n1,2\n1,2,3\n"), "is not a table of cells"),
    "csv with one name twice": (csv("CD3,CD3\n1,2\n"), "the column 'CD3' occurs twice"),
    "csv with one cell twice": (csv("cell,a\nx,1\nx,2\n"), "the cell name 'x' occurs twice"),
    "csv that is binary": (csv(bytes(range(256))), "is not encoded in UTF-8"),
    "csv in UTF-16": (csv("a,b\n1,2\n".encode("utf-16")), "is not encoded in UTF-8"),
    "csv without names": (csv("0.5,1.5\n0.1,0.2\n"), "numbers in its first line"),
    "csv with an empty first line": (csv("\na,b\n1,2\n"), "has an empty first line"),
    "csv separated by bars": (
        csv("a|b\n1|2\n"),
        "which contains text ('1|2'); separate columns by",
    ),
    "csv with an open quote": (csv('a,b\n"1,2\n3,4\n'), "is not a table of cells"),
    "csv with a line cut off": (
        csv("a,b,c\n1,2,3\n1,2\n"),
        "line 3 has 2 fields, but line 2 has 3",
    ),
    "csv with its names twice": (csv("a,b\n1,2\na,b\n3,4\n"), "line 3 repeats the header"),
    "csv with a remark": (csv("# x\na,b\n1,2\n"), "begins with a comment ('# x')"),
    "csv with units": (csv("a,b\nms,mV\n1,2\n3,4\n"), "cell number 0 (counted from 0) has text"),
    "csv with whole lines quoted": (csv('"a,b"\n"1,2"\n'), "quotes around whole lines"),
    "csv with a column without name": (csv("a,b,\nx,1,2\n"), "a column without a name (number 3"),
    "csv with genes in rows": (
        csv("GENE,c1,c2\nAlb,1,2\nIns1,1,2\n"),
        "use --transpose if its columns",
    ),
    "gzip that is none": (csv(b"\x1f\x8bnot gzip", "cells.csv.gz"), "truncated or damaged gzip"),
    "gzip cut off": (csv(gzip.compress(b"a,b\n1,2\n")[:-6], "cells.csv.gz"), "damaged gzip"),
    "gzip bomb": (csv(BOMB, "cells.csv.gz"), "unpacks to more than 200 times its size"),
    "file of another format": (csv("x", "cells.xlsx"), "has none of the extensions"),
    "file that is not there": (lambda f: read_cells(f / "none.csv"), "does not exist"),
    "folder that is no 10x": (read_cells, "has no matrix.mtx"),
    # h5ad
    "h5ad that is text": (lambda f: read_cells(text(f, "a.h5ad", "no")), "not a readable h5ad"),
    "h5ad that is a pickle": (
        lambda f: read_cells(text(f, "a.h5ad", pickle.dumps(Payload()))),
        "is not a readable h5ad file",
    ),
    "h5ad with a pickle as values": (
        changed_h5ad(replaced("X", data=np.void(pickle.dumps(Payload())))),
        "is not a readable h5ad file",
    ),
    "h5ad without names of cells": (changed_h5ad(lambda f: f.pop("obs")), "not a readable h5ad"),
    "h5ad whose values are another file": (
        changed_h5ad(external_values),
        "are stored in another file",
    ),
    "h5ad put together from other files": (
        changed_h5ad(virtual_values),
        "are stored in another file",
    ),
    "h5ad with a link to another file": (
        changed_h5ad(lambda f: f.__setitem__("uns/x", h5py.ExternalLink("/etc/a.h5", "/"))),
        "is a link to the file '/etc/a.h5', which is not followed",
    ),
    "h5ad that explodes": (changed_h5ad(endless_values), "declares 4,000,000,00"),
    "h5ad with indices outside": (changed_h5ad(wrong_indices), "sparse matrix 'X' is damaged"),
    "h5ad cut off": (
        lambda f: read_cells(text(f, "b.h5ad", h5ad(f).read_bytes()[:3000])),
        "is not a readable h5ad file",
    ),
    # npz
    "npz with pickled objects": (npz_with_objects, "is not a readable npz file (Object arrays"),
    "npz without X": (npz(Y=VALUES), "has no array X"),
    "npz with X of text": (npz(X=np.array([["a", "b"]])), "of <U1"),
    "npz with X of one dimension": (npz(X=np.arange(5.0)), "has X (5,)"),
    "npz with too few names": (npz(X=VALUES, features=["a"]), "features has shape (1,) for 4"),
    "npz with a name twice": (npz(X=VALUES, features=["a"] * 4), "feature name 'a' occurs twice"),
    "npz that is no zip": (lambda f: read_cells(text(f, "a.npz", "x")), "not a readable zip"),
    "npz that escapes": (
        lambda f: read_cells(packed("../X.npy", b"x")(f) and (f / "a.zip").rename(f / "a.npz")),
        "a path outside the archive",
    ),
    # 10x
    "10x without cells": (tenx(**{"barcodes.tsv": None}), "has no barcodes.tsv"),
    "10x asked for labels": (
        lambda f: column_as_text(tenx()(f), "type"),
        "without any groups of cells ('type' was requested)",
    ),
    "10x of another size": (
        tenx(**{"barcodes.tsv": "A\nB\n"}),
        "but there are 2 genes and 2 cells",
    ),
    "10x that promises too much": (
        tenx(
            **{"matrix.mtx": "%%MatrixMarket matrix coordinate integer general\n2 3 9999999999\n"}
        ),
        "9,999,999,999 entries",
    ),
    "10x with an index outside": (
        tenx(**{"matrix.mtx": "%%MatrixMarket matrix coordinate integer general\n2 3 1\n9 9 1\n"}),
        "has no counts as written by Cell Ranger",
    ),
    "10x with a matrix of text": (tenx(**{"matrix.mtx": "hello\n"}), "has no counts as written"),
    "10x h5 without a matrix": (tenx_h5(group="other"), "instead of 'matrix'"),
    "10x h5 of another size": (tenx_h5(shape=[5, N]), "declares 5 genes"),
    "10x h5 with indices outside": (
        tenx_h5(indices=np.full(sp.csr_matrix(VALUES).nnz, 99)),
        "the sparse matrix 'matrix' is damaged",
    ),
    "h5 that is text": (lambda f: read_cells(text(f, "a.h5", "no")), "has no counts as written"),
    # FCS
    "FCS that is text": (lambda f: read_cells(text(f, "a.fcs", "hello")), "starts with b'hello'"),
    "FCS of another version": (fcs(lambda b: b"FCS9.9" + b[6:]), "starts with b'FCS9.9'"),
    "FCS cut off": (fcs(lambda b: b[: len(b) // 2]), "is not a readable FCS file"),
    "FCS with a header of letters": (fcs(lambda b: b[:10] + b"x" * 48 + b[58:]), "not a readable"),
    "FCS with too many cells": (
        fcs(lambda b: b.replace(b"$TOT/", b"$TOT/9")),
        "is not a readable FCS file",
    ),
    "FCS of unknown values": (fcs(lambda b: b.replace(b"$DATATYPE/F", b"$DATATYPE/Q")), "FCS file"),
    "empty FCS": (lambda f: read_cells(text(f, "a.fcs", b"")), "is not a readable FCS file"),
    # idx
    "idx that is text": (idx(b"hello, world"), "does not start like an idx file"),
    "idx of floats": (idx(struct.pack(">BBBB", 0, 0, 13, 3)), "holds idx type 0x0d"),
    "idx cut off in its header": (idx(struct.pack(">BBBBI", 0, 0, 8, 3, 9)), "ends within its"),
    "idx that promises too much": (
        idx(struct.pack(">BBBBIII", 0, 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"x"),
        "fetch",
    ),
    # archives
    "zip that escapes upwards": (packed("../../x.csv", "x"), "a path outside the archive"),
    "zip that escapes to the root": (packed("/etc/x.csv", "x"), "a path outside the archive"),
    "zip that escapes on Windows": (packed("C:\\x.csv", "x"), "a path outside the archive"),
    "zip that explodes": (packed("x.csv", huge_member()), "more than 200 times its size"),
    "zip that is text": (
        lambda f: raw_file.archive(text(f, "a.zip", "hello")).__enter__(),
        "not a readable zip",
    ),
    "zip with a name that is not UTF-8": (zip_with_broken_name, "is not a readable zip archive"),
    "counts that are negative": (table_archive("Liver.csv", ",c\nAlb,-1\n"), "a negative value"),
    "counts that are fractions": (table_archive("Liver.csv", ",c\nAlb,.5\n"), "not an integer"),
    "counts that are text": (table_archive("Liver.csv", ",c\nAlb,x\n"), "expected a count"),
    "counts of another member": (table_archive("../Liver.csv", MEMBER_OF_A_LIVER), "outside the"),
    "counts of no member": (table_archive("Lung.csv", MEMBER_OF_A_LIVER), "contains no Liver.csv"),
    "counts of a member with a line break": (
        table_archive("Li\nver.csv", MEMBER_OF_A_LIVER),
        "did you mean Li\\nver.csv",
    ),
    "csv whose names a terminal obeys": (csv("\x1b[2J,\x1b[2J\n1,2\n"), "column '\\x1b[2J' occurs"),
    # own cells
    "label that is not there": (prepared(label="typ"), "has no column 'typ' in obs; did you mean"),
    "label with one group": (prepared(label="type"), "gives one group for 120 cells"),
    "label that names each cell": (prepared(label="id"), "gives 120 groups for 120 cells"),
    "feature that is not there": (prepared(drop=["CD99"]), "has no feature 'CD99'"),
    "layer that is not there": (prepared(layer="raw"), "has no 'raw' in layers"),
    "key of obsm that is not there": (prepared(use_rep="X_pca"), "has no 'X_pca' in obsm"),
    "name with a line break": (named("a\nb.csv"), "a line break or another character"),
    "name with a brace": (named("{seed}.csv"), "contains a brace"),
    "name that turns the line": (named("a\u202egnp.csv"), "a line break or another character"),
    "own file that is not there": (checked(data="FOLDER/../none.csv"), "none.csv does not exist"),
    "own file of another format": (checked(data="/etc/hostname"), "has none of the extensions"),
    # configuration
    "experiment that leaves the results": (experiment("../../etc"), "'../../etc' is not allowed"),
    "experiment with a semicolon": (experiment("a;rm -rf x"), "the name 'a;rm -rf x' is not"),
    "experiment with a quote": (experiment("a'b"), "is not allowed"),
    "experiment with a line break": (experiment("a\nb"), "is not allowed"),
    "experiment in another script": (experiment("опыт"), "is not allowed"),
    "experiment with a name of ours": (experiment("runs"), "'runs' is not allowed"),
    "data set with a path": (experiment(datasets=["../x"]), "data set '../x' is unknown"),
    "method with a command": (experiment(methods=["$(id)"]), "method '$(id)' is unknown"),
    "seed that is a command": (experiment(seeds=["`id`"]), "'`id`' is of the wrong type"),
    "seed below 0": (experiment(seeds=[-1]), "-1 is too small"),
    "no experiment": (checked(), "'experiments' is empty"),
    "unknown key": (checked(miror="x"), "key 'miror' is unknown; did you mean 'mirror'"),
    "results with a placeholder": (checked(results="{x}", data=None), "contains a brace"),
    "results with a line break": (checked(results="a\nb"), "a line break"),
    "mirror that is not there": (
        checked(
            mirror="/nowhere",
            experiments={"mine": {"title": "t", "datasets": ["digits"], "methods": ["kmeans"]}},
        ),
        "does not exist",
    ),
    "well with a placeholder": (wells("A{x}_b_A01.fcs"), "is not named <inhibitor>"),
    "well of another name": (wells("cells.fcs"), "is not named <inhibitor>"),
    "transform of another name": (
        checked(transform="log", experiments={}),
        "config key 'transform': 'log' is unknown",
    ),
    "cofactor of 0": (checked(cofactor=0), "config key 'cofactor': 0 is too small"),
    "clusters of words": (checked(clusters="many"), "'many' is of the wrong type"),
    # own methods
    "folder without a method": (registry.own_methods, "is not a folder with the block of a method"),
    "block that is no YAML": (
        method(
            "a: [",
        ),
        "is not valid YAML",
    ),
    "block that would run code": (
        method("a: !!python/object/apply:os.getcwd []"),
        "not valid YAML",
    ),
    "block that is a list": (method("- a"), "must map names to blocks"),
    "block without a program": (method("mine: {title: t}"), "needs 'module'"),
    "block of an odd name": (method("'a;b': {command: x}"), "must have a name of lower-case"),
    "module that is not there": (method("mine: {module: no.py}"), "which does not exist"),
    "command with an open quote": (method('mine: {command: "a \'b"}'), "No closing quotation"),
    "command without a place": (method("mine: {command: a}"), "lacks {features}"),
    "command with an unknown place": (
        method("mine: {command: 'a {features} {labels} {home}'}"),
        "has {home} in its command",
    ),
    "method with a path for a name": (lambda f: new_method.write("../a", f, False), "cannot be"),
    "output that is missing": (lambda f: output(f / "none", 3), "wrote no labels"),
    "output that is too short": (lambda f: output(text(f, "l", "1\n2\n"), 3), "2 labels for 3"),
    "output of words": (lambda f: output(text(f, "l", "1\n2\nB cell\n"), 3), "is 'B cell'"),
    "output that is too long": (lambda f: output(text(f, "l", "1" * 999), 3), "too long"),
    # results and downloads
    "labels that are no parquet": (
        lambda f: read_labels(text(f, "labels.parquet", pickle.dumps(Payload()))),
        "is not a table with the columns",
    ),
    "model that is a pickle": (saved_model, "cannot be read"),
    "download without a source": (
        lambda f: fetch({"name": "a.fcs", "hash": "unknown"}, f / "a.fcs"),
        "not published in this form",
    ),
    "download of a local file": (
        lambda f: fetch(
            {"name": "a.fcs", "hash": "unknown", "sources": ["file:///etc/passwd"]},
            f / "a.fcs",
            retries=0,
        ),
        "the address cannot be used",
    ),
}
