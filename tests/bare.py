"""What the wheel promises where nothing else is installed: run by a Python that has it alone.

`make test-wheel` makes such an environment; tests/test_publication.py lets this Python see no
more than the wheel and what it asks for.
"""

import contextlib
import gzip
import io
import struct
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

ONLY_THE_BENCHMARK_NEEDS = (
    *("jinja2", "jsonschema", "matplotlib", "psutil", "pyarrow", "requests", "snakemake"),
    *("bokeh", "hdbscan", "leidenalg", "scanpy", "scvi", "umap"),
)
CHANNELS = [f"CD{i}" for i in range(6)]


def main() -> None:
    sys.path[:] = [place for place in sys.path if Path(place) != Path(__file__).parent]
    started = time.perf_counter()
    import moesimvae

    seconds = time.perf_counter() - started
    assert seconds < 0.3, f"import moesimvae took {seconds:.2f} s"
    print(f"import moesimvae: {seconds:.3f} s; {moesimvae.__file__}")
    assert metadata.version("moesimvae") == moesimvae.__version__
    started = time.perf_counter()
    moesimvae.MoESimVAE  # noqa: B018 - the attribute imports it
    print(f"the estimator: {time.perf_counter() - started:.1f} s")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_cells()
        cluster_each()
    came = sorted(name for name in ONLY_THE_BENCHMARK_NEEDS if name in sys.modules)
    assert not came, f"imported, though only the benchmark needs it: {came}"
    print("wheel ok")


def write_cells() -> None:
    """The same cells in every format that is read."""
    import anndata
    import numpy as np
    import pandas as pd
    import scipy.io
    import scipy.sparse as sp

    random = np.random.default_rng(0)
    values = random.poisson(3.0, (60, len(CHANNELS))).astype(np.float32)
    values[::2, :3] += 40
    cells = anndata.AnnData(values, var=pd.DataFrame(index=CHANNELS))
    cells.write_h5ad("cells.h5ad")
    pd.DataFrame(values, columns=CHANNELS).to_csv("cells.csv", index=False)
    pd.DataFrame(values, columns=CHANNELS).to_csv("cells.tsv.gz", index=False, sep="\t")
    np.savez("cells.npz", X=values, features=np.array(CHANNELS))
    Path("cells.fcs").write_bytes(fcs(values))
    tenx = Path("tenx")
    tenx.mkdir()
    with gzip.open(tenx / "matrix.mtx.gz", "wb") as file:
        content = io.BytesIO()
        scipy.io.mmwrite(content, sp.coo_matrix(values.T.astype(int)))
        file.write(content.getvalue())
    with gzip.open(tenx / "features.tsv.gz", "wt") as file:
        file.writelines(f"{name}\t{name}\tGene Expression\n" for name in CHANNELS)
    with gzip.open(tenx / "barcodes.tsv.gz", "wt") as file:
        file.writelines(f"C{i}-1\n" for i in range(len(values)))


def fcs(values) -> bytes:
    """FCS 3.1 with floats, as small as it can be."""
    n_cells, n_channels = values.shape
    data = struct.pack(f"<{values.size}f", *values.ravel())
    begin = 1024
    pairs = {"$DATATYPE": "F", "$MODE": "L", "$BYTEORD": "1,2,3,4", "$TOT": n_cells}
    pairs |= {"$PAR": n_channels, "$BEGINDATA": begin, "$ENDDATA": begin + len(data) - 1}
    pairs |= {"$NEXTDATA": 0, "$BEGINANALYSIS": 0, "$ENDANALYSIS": 0}
    pairs |= {"$BEGINSTEXT": 0, "$ENDSTEXT": 0}
    for i, name in enumerate(CHANNELS, 1):
        pairs |= {f"$P{i}N": name, f"$P{i}B": 32, f"$P{i}R": 1024, f"$P{i}E": "0,0"}
    text = "|" + "".join(f"{key}|{value}|" for key, value in pairs.items())
    places = (58, 57 + len(text), begin, begin + len(data) - 1, 0, 0)
    head = "FCS3.1    " + "".join(f"{place:>8}" for place in places)
    return (head + text).ljust(begin).encode() + data


def cluster_each() -> None:
    from moesimvae import cli

    for cells in ("cells.h5ad", "cells.csv", "cells.tsv.gz", "cells.npz", "cells.fcs", "tenx"):
        out = f"of_{Path(cells).name}"
        words = ["cluster", cells, "--clusters", "2", "--steps", "2", "--out", out, "--quiet"]
        assert cli.main(words) == 0
    assert cli.main(["predict", "of_cells.h5ad", "cells.csv", "--out", "new.csv", "--quiet"]) == 0
    words = ["generate", "of_cells.h5ad", "--cluster", "0", "--n", "5", "--out", "generated.csv"]
    assert cli.main([*words, "--quiet"]) == 0
    told = subprocess.run(
        [sys.executable, "-m", "moesimvae.cli", "--version"], capture_output=True, check=False
    )
    assert told.returncode == 0


if __name__ == "__main__":
    main()
