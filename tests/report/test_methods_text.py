"""The methods section of an experiment: what its runs say, and BibTeX."""

import anndata
import numpy as np

from moesimvae.nouns import Facts, Method, Metric, Status
from moesimvae.report import methods_text

MACHINE = {"cpu": "A", "cores": 2, "memory_mb": 8000, "platform": "Linux", "python": "3.11"}


def status(method, seed, params, how="ok", facts=None):
    return Status(
        dataset="tiny", method=method, seed=seed, params=params, status=how, n_clusters=7,
        facts=facts or {}, machine=MACHINE, version="0.1.0", packages={"numpy": "2.4.6"},
    )  # fmt: skip


def test_a_methods_section_says_what_was_run_and_no_more(tmp_path):
    cells = anndata.AnnData(np.zeros((3, 2), np.float32))
    cells.uns["preprocessing"] = '[{"step": "arcsinh", "cofactor": 5.0}, {"step": "minmax"}]'
    (tmp_path / "tiny").mkdir()
    cells.write_h5ad(tmp_path / "tiny" / "features.h5ad")
    facts = Facts(
        name="tiny", title="Tiny cells", n_cells=1234, n_features=2, scored="all cells",
        simulated=True, n_clusters_estimated=True, sources=[{"file": "a.fcs", "sha256": "ab12"}],
        citation="Levine J. H. et al. (2015) Data-driven dissection. Cell 162, 184-197.",
    )  # fmt: skip
    methods = {
        "kmeans": Method(
            "k-means", "kmeans",
            reference="Lloyd S. P. (1982) Least squares. IEEE 28: 129; scikit-learn.",
        ),
        "existing_x": Method(
            "x (existing, not trained)", "existing", existing="x",
            reference="The column x of the user's own file.",
        ),
    }  # fmt: skip
    statuses = {
        "a": status("kmeans", 0, {"n_init": 3, "n_pca": 20}),
        "b": status("kmeans", 1, {"n_init": 3, "n_pca": 50}, "timeout"),
        "c": status("existing_x", 0, {}, facts={"existing": "x"}),
    }
    metric = Metric(title="ARI", definition="Pairs", reference="Hubert L. (1985) Comparing. J 2.")
    steps = methods_text.steps_of([tmp_path / "tiny" / "features.h5ad"])
    text = methods_text.document("Mine", {"tiny": facts}, steps, methods, {"ari": metric}, statuses)
    for words in (
        "3 runs of 2 methods on 1 data set.",
        "1,234 cells with 2 features.",
        "Preprocessing, in this order: arcsinh cofactor = 5.0; minmax.",
        "K = 7 (estimated from the cells, without labels)",
        "The data are simulated.",
        "a.fcs (SHA-256 ab12)",
        "Seeds 0 and 1; 1 of 2 runs finished.",
        "Parameters: n_init = 3. n_pca: 20 (1 run), 50 (1 run).",
        "x (existing, not trained). The column x of the user's own file.",
        "moesimvae 0.1.0 on A, 2 cores",
        "numpy 2.4.6.",
    ):
        assert words in text
    assert "partial" not in text
    for key in ("lloyd1982least", "levine2015data", "hubert1985comparing"):
        assert text.count(f"@misc{{{key},") == 1
