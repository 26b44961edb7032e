"""From what a user's file holds to what is clustered: which features, and how transformed.

A recipe is stored beside the model (`preprocessing.json`), so that new cells are treated alike.
"""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp

from moesimvae import files
from moesimvae.data import guess
from moesimvae.data.cells import CellFile
from moesimvae.data.fcs import is_scatter
from moesimvae.data.numerals import no_numbers, written
from moesimvae.data.preprocessing import preprocess
from moesimvae.data.suspects import codes, earlier
from moesimvae.errors import UserError, first_line
from moesimvae.names import listed, names_in, near
from moesimvae.nouns import TRANSFORMS

FILE = "preprocessing.json"
FORMAT, FORMAT_VERSION = "moesimvae-preprocessing", 1
COFACTOR, COFACTOR_FLUORESCENCE = 5.0, 150.0
LIBRARY_SIZE = 10_000
# arcsinh(262144) is 13.2, and common logarithms and display scales stay below 14; raw values of
# mass cytometry reach hundreds (in the panels examined, at most a quarter of the markers stay
# below 14), of fluorescence 262,144, of display channels 1,024
MOST_TRANSFORMED, MOST_DISPLAYED = 14, 1024
# cells of a file on disk that are examined to tell what it holds, and values per piece
LOOKED_AT = 10_000
PIECE_VALUES = 1 << 24
# from this many cells on, a column of integers that rises throughout numbers the cells
COUNTING = 10
# more features are not a cytometry panel but genes, which may be called DNA2 or BC004004
PANEL = 500

# cytometry channels that record where, when or which cell, not what it expresses
NOT_MARKERS = (
    *("time", "event*length", "cell*length", "center", "offset", "width", "residual", "dna"),
    *("dna[!a-z]*", "*_dna*", "*ir_dna*", "bc[0-9]*", "*_bc[0-9]*", "barcode*", "bead*"),
    *("*_bead*", "viability", "live*dead*", "cisplatin*", "*_cisplatin*", "*_viability", "id"),
    *("event_id", "cell_id", "unnamed:*", "event", "event_n*", "event#", "file", "file_n*"),
    *("fileno", "sample", "sample_id", "cluster", "cluster_id", "individual", "label"),
    *("population", "population_id"),
)


@dataclass(frozen=True)
class Recipe:
    """features: names in the order that the model sees. steps: as in `preprocessing`.

    library: the features whose sum is the library size, if the steps use one; else empty.
    layer, use_rep: where in an h5ad the values are, "" for X. compensation: for FCS files, as
    `compensation.asked_for` gives it.
    """

    features: list[str]
    steps: list[dict[str, Any]]
    library: list[str]
    layer: str = ""
    use_rep: str = ""
    compensation: Any = None

    def save(self, folder: Path) -> None:
        files.write_json(
            folder / FILE, {"format": FORMAT, "format_version": FORMAT_VERSION} | asdict(self)
        )


def load(folder: Path) -> Recipe | None:
    """The recipe beside a model, or None for a model that was saved without one."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        stored = files.read_json(path)
        if (stored.pop("format"), stored.pop("format_version")) != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"it is not {FORMAT} of version {FORMAT_VERSION}")
        return Recipe(**stored)
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} cannot be used ({first_line(error)}); cluster again with this version."
        ) from error


# ---------------------------------------------------------------------- which features


def as_options(kind: str, names: Sequence[str]) -> str:
    """What a user of the command line types to take or leave out columns."""
    return f"--{kind} {shlex.join(names)}"


def choose(
    file: CellFile,
    features: Sequence[str] = (),
    drop: Sequence[str] = (),
    use_rep: str = "",
    said: Callable[[str, Sequence[str]], str] = as_options,
) -> list[str]:
    """Names of the features to cluster, in the file's order.

    features, drop: names or patterns (`CD*`) of those to take (default: all) and to leave out.
    said: what a user types to choose columns, (features | drop, names) → text, for errors.
    Raises UserError for a name that matches nothing, for a text column, and, unless `features` is
    given, for cytometry channels that are not markers (Time, DNA, …).
    """
    if use_rep:
        if features or drop:
            raise UserError(
                "features can only be chosen from X or a layer, but use_rep names "
                f"'{use_rep}'; omit one of the two."
            )
        return list(_stored_names(file, use_rep))
    tabular = file.kind in ("table", "fcs")
    of_text = file.cells.obs.columns if tabular and not file.samples else ()
    columns = [*file.cells.var_names, *of_text]
    taken = set(_matching(features, columns, file)) if features else set(columns)
    taken -= set(_matching(drop, columns, file))
    chosen = [name for name in file.cells.var_names if name in taken]
    text = [name for name in columns[file.cells.n_vars :] if name in taken]
    if text:
        _require_points(file, text)
        raise UserError(
            f"{file.path} has columns that are not numeric ({listed(text)}; "
            f"{_example(file, text[0])}); leave them out with {said('drop', text)}, "
            f"or name the features to use with {said('features', ['NAME'])}."
        )
    panel = tabular or guess.panel(file.cells)[0] in ("cytometry", "proteins")
    if panel and not features:
        suspects = _suspects(file, chosen)
        if suspects:
            rest = len(suspects) < len(chosen)
            out = f"leave them out with {said('drop', suspects)}, or " * rest
            raise UserError(
                f"{file.path} has {'' if rest else 'only '}columns that do not look like markers"
                f"{'' if rest else f' ({listed(suspects)})'}; {out}choose the features with "
                f"{said('features', ['*'])} (all) or by name."
            )
    if not chosen:
        raise UserError(f"no feature of {file.path} is left to cluster; choose at least one.")
    return chosen


def left_out(file: CellFile) -> list[str]:
    """Columns that are not features by default: text, and those that do not look like markers.

    Only in a table, an FCS file, or an h5ad that is a cytometry panel, as in `choose`.
    Raises UserError for columns whose numbers are in another notation (`numerals`).
    """
    tabular = file.kind in ("table", "fcs")
    text = list(file.cells.obs) if tabular and not file.samples else []
    _require_points(file, text)
    if tabular or guess.panel(file.cells)[0] in ("cytometry", "proteins"):
        return [*_suspects(file, list(file.cells.var_names)), *text]
    return []


def _require_points(file: CellFile, names: Sequence[str]) -> None:
    """Raise UserError where text columns hold numbers in another notation (`numerals`)."""
    odd: dict[tuple[str, str], list[str]] = {}
    for name in names:
        column = file.cells.obs[name].astype(str)
        found = written(column[no_numbers(column)].unique())
        if found:
            odd.setdefault(found, []).append(name)
    for (what, advice), columns in odd.items():
        raise UserError(
            f"{file.path} has {what} in {listed(columns)} ({_example(file, columns[0])}); {advice}."
        )


def _example(file: CellFile, name: str) -> str:
    """The first value in a text column that is not a number, in words."""
    column = file.cells.obs[name].astype(str)
    number = int(np.argmax(no_numbers(column)))
    return f"cell number {number} has '{column.iloc[number]}' in {name}"


def _matching(patterns: Sequence[str], names: list[str], file: CellFile) -> list[str]:
    found = []
    for pattern in patterns:
        these = (
            [pattern]  # a name may contain wildcards
            if pattern in names
            else [name for name in names if fnmatchcase(name, pattern)]
        )
        if not these:
            others = near(pattern, names) or names[:5]
            raise UserError(
                f"{file.path} has no feature '{pattern}'; did you mean one of: {', '.join(others)}?"
            )
        found += these
    return found


# sample barcodes named after their carrier or only after their palladium channel, beads, and DNA
# named after its iridium channel
_PALLADIUM = r"(\(?pd_?1(0[24568]|10)\)?|1(0[24568]|10)_?pd)(_?d[id])?"
_BARCODE = re.compile(
    rf"{_PALLADIUM}(_{_PALLADIUM})?|(.*_|cd\d+|b2m|hla_?abc)?bc_?\d+(_.*)?|.*beads"
    r"|\(?ir_?19[13]\)?(_?d[id])?|19[13]_?ir(_?d[id])?"
)


def _suspects(file: CellFile, names: list[str]) -> list[str]:
    """Features that do not look like markers, by their names or because they number the cells."""
    found = earlier(names)
    if len(names) <= PANEL:
        found |= {name for name in names if _no_marker(name)}
    told = codes(names)
    if file.kind in ("table", "fcs"):
        found |= {file.cells.var_names[i] for i in _rising(file.cells.X)}
        told = {name for name in told if _is_whole(file, name)}  # a code has no fractions
    found |= told
    return [name for name in names if name in found]


def _is_whole(file: CellFile, name: str) -> bool:
    values = file.cells.X[:, file.cells.var_names.get_loc(name)]
    return bool((values[np.isfinite(values)] % 1 == 0).all())


def _rising(values: np.ndarray) -> list[int]:
    """Columns of integers that rise from cell to cell, as event and line numbers do."""

    def rises(part: np.ndarray) -> np.ndarray:
        return (np.diff(part, axis=0) > 0).all(axis=0) & (part % 1 == 0).all(axis=0)

    if len(values) < COUNTING:
        return []
    with np.errstate(invalid="ignore"):  # from non-finite values
        perhaps = np.flatnonzero(rises(values[:COUNTING]))
        return [int(i) for i in perhaps if rises(values[:, [i]]).all()]


def _no_marker(name: str) -> bool:
    plain = name.lower().replace(" ", "_").replace("-", "_")
    return bool(_BARCODE.fullmatch(plain)) or any(
        fnmatchcase(plain, pattern) for pattern in NOT_MARKERS
    )


# ---------------------------------------------------------------------- how to transform


def make(
    file: CellFile,
    features: list[str],
    transform: str = "auto",
    cofactor: float | None = None,
    layer: str = "",
    use_rep: str = "",
    said: Callable[[str, Sequence[str]], str] = as_options,
) -> tuple[Recipe, str]:
    """The recipe, and in words what it does and why.

    transform: arcsinh(x / cofactor); counts = library size 10,000, then log(1 + x); log1p; none;
    auto = arcsinh for FCS (cofactor 5, or 150 from a flow cytometer) unless its values are clearly
    transformed already, and for an h5ad of integers that is a mass cytometry panel; counts for
    other non-negative integers in h5ad or 10x; none otherwise. Where the values may be something
    else, the words say what to type (`said`). The library size is taken over all features of the
    file, chosen or not.
    """
    why = ""
    if transform == "auto":
        transform, usual, why = _automatic(file, features, cofactor, layer, use_rep, said)
        why = f" (automatic: {why})"
        cofactor = usual if cofactor is None else cofactor
    if cofactor is not None and transform != "arcsinh":
        raise UserError(
            f"a cofactor ({cofactor:g}) applies only to the transform arcsinh, but the transform "
            f"is {transform}{why}; omit it or choose arcsinh."
        )
    cofactor = COFACTOR if cofactor is None else cofactor
    if not (np.isfinite(cofactor) and cofactor > 0):
        raise UserError(f"the cofactor is {cofactor:g}; give a positive number.")
    steps: dict[str, list[dict[str, Any]]] = {
        "arcsinh": [{"step": "arcsinh", "cofactor": cofactor}],
        "counts": [{"step": "library_size", "target": LIBRARY_SIZE}, {"step": "log1p"}],
        "log1p": [{"step": "log1p"}],
        "none": [],
    }
    words = {
        "arcsinh": f"arcsinh(x / {cofactor:g})",
        "counts": f"library size {LIBRARY_SIZE:,} over all features, then log(1 + x)",
        "log1p": "log(1 + x)",
        "none": "none",
    }
    if transform not in steps:
        raise UserError(f"unknown transform '{transform}'; give one of {', '.join(TRANSFORMS)}.")
    library = list(_stored_names(file, use_rep)) if transform == "counts" else []
    return Recipe(features, steps[transform], library, layer, use_rep), words[transform] + why


def _automatic(
    file: CellFile,
    features: list[str],
    cofactor: float | None,
    layer: str,
    use_rep: str,
    said: Callable[[str, Sequence[str]], str],
) -> tuple[str, float | None, str]:
    """(transform, its cofactor if not the default, why)."""
    arcsinh, counts, none = (said("transform", [name]) for name in ("arcsinh", "counts", "none"))
    if file.kind == "fcs":
        markers = _markers(file, features) if cofactor is None else None
        tops = np.inf if markers is None else np.quantile(markers, 0.999, axis=0)
        low = np.mean(tops <= MOST_TRANSFORMED) * (markers is None or (markers % 1 != 0).any())
        if low == 1:
            why = (
                f"no marker exceeds {MOST_TRANSFORMED}, so the values are already transformed; "
                f"if they are not, use {arcsinh}"
            )
            return "none", None, why
        if file.fluorescence:
            other = (
                f"; no marker exceeds {MOST_DISPLAYED:,}: if they are already on a logarithmic "
                f"scale, use {none}"
            ) * bool(np.max(tops) <= MOST_DISPLAYED)
            why = f"FCS from a flow cytometer, so fluorescence{other}"
            return "arcsinh", COFACTOR_FLUORESCENCE, why
        other = (
            f"; {low:.0%} of the markers do not exceed {MOST_TRANSFORMED}: if they are already "
            f"transformed, use {none}"
        ) * bool(low >= 0.5)
        return "arcsinh", None, f"FCS without scatter channels, so mass cytometry{other}"
    if use_rep:
        return "none", None, "values are taken as they are"
    with _source(file, layer, "") as matrix:
        rows = max(1000, PIECE_VALUES // max(1, file.cells.n_vars))
        part = matrix[: min(rows, LOOKED_AT)]
    kind, names = guess.panel(file.cells)
    columns = file.cells.var_names.get_indexer(features)
    if file.cells.n_vars <= guess.ANTIBODIES and (columns >= 0).all():
        part = part[:, columns]  # a clock or a label that is left out must not mislead
    look = guess.look(part)
    if look is None or not look.counts or file.kind not in ("h5ad", "10x"):
        return "none", None, f"values are taken as they are{_hint(look, kind, names, said)}"
    if file.kind == "h5ad" and kind == "fluorescence":
        if look.most >= guess.CHANNELS:
            so = f"integers and scatter channels ({listed(names)}), so fluorescence"
            return "arcsinh", COFACTOR_FLUORESCENCE, f"{so}; for counts of molecules, use {counts}"
        so = (
            f"integers below {guess.CHANNELS:,} and scatter channels ({listed(names)}), so already "
            "on a logarithmic scale"
        )
        return "none", None, f"{so}; for counts of molecules, use {counts}"
    dense = kind == "proteins" and not sp.issparse(part)
    if file.kind == "h5ad" and (kind == "cytometry" or dense):
        why = (
            f"integers in a panel of {file.cells.n_vars} features such as {listed(names)}, so "
            f"mass cytometry; for sequenced molecules, as in CITE-seq, use {counts}"
        )
        return "arcsinh", None, why
    panel = f" (features such as {listed(names)})" * bool(kind)
    few = bool(kind) or file.cells.n_vars <= guess.PANEL
    other = f"; for a cytometry panel{panel}, use {arcsinh}" * few
    return "counts", None, f"non-negative integers, so counts{other}"


def _markers(file: CellFile, features: list[str]) -> np.ndarray | None:
    """Values of the first cells in the marker channels, None where there are none."""
    channels = file.cells.var["channel"]
    names = [
        name
        for name in features
        if not (_no_marker(name) or is_scatter(name) or is_scatter(channels[name]))
    ]
    values = file.cells[:LOOKED_AT, names].X
    values = values[:, np.isfinite(values).all(axis=0)]
    return values if values.size else None


def _hint(
    look: guess.Look | None, kind: str, names: list[str], said: Callable[[str, Sequence[str]], str]
) -> str:
    """What values that are taken as they are may be after all, and what to ask for then."""
    if look is None:
        return ""
    arcsinh, counts = (said("transform", [name]) for name in ("arcsinh", "counts"))
    panel = f" (features such as {listed(names)})" * bool(kind)
    if look.counts:
        few = f"; for a cytometry panel{panel}, use {arcsinh}" * (look.features <= guess.PANEL)
        return f"; all are integers: for counts of molecules, use {counts}{few}"
    if kind in ("cytometry", "proteins") and look.most > 50 and not look.logarithm:
        return (
            f"; they reach {look.most:,.0f} in a panel{panel}: for values as measured by a "
            f"cytometer, use {arcsinh}; for counts of molecules, use {counts}"
        )
    if look.expected_counts:
        return (
            f"; they look like fractional counts, as written by RSEM, salmon, SoupX or CellBender "
            f"({look.zeros:.0%} zeros, up to {look.most:,.4g}, unequal sums): if so, use {counts}; "
            "for values that are already normalised, this is right"
        )
    if look.per_million:
        return (
            f"; each cell sums to {look.sum:,.0f}, as with TPM and CPM: if so, use "
            f"{said('transform', ['log1p'])}; for values that are already transformed, this is "
            "right"
        )
    return ""


# ---------------------------------------------------------------------- barcodes without a cell


def with_counts(file: CellFile, least: int, layer: str = "") -> CellFile:
    """The cells with at least `least` counts over all features of the file, chosen or not.

    Raises UserError for FCS, for a file that stays on disk, and where no cell is left.
    """
    if not least:
        return file
    if file.kind == "fcs":
        raise UserError(
            f"{file.path} is an FCS file, without counts of molecules; omit min_counts."
        )
    if file.on_disk:
        raise UserError(
            f"{file.path} stays on disk, so cells cannot be filtered by their counts; omit "
            "min_counts, or give a file that fits into memory."
        )
    sums = _totals(file, layer)
    if not (sums >= least).any():
        raise UserError(
            f"no cell of {file.path} has {least:,} counts (the maximum is {sums.max():,.0f}); "
            "require fewer."
        )
    return replace(file, cells=file.cells[sums >= least].copy())


def empty_barcodes(
    file: CellFile,
    recipe: Recipe,
    said: Callable[[str, Sequence[str]], str] = as_options,
) -> str:
    """A note for the case that most barcodes hold no cell, as in a raw matrix; else ""."""
    if not recipe.library:
        return ""
    sums = _totals(file, recipe.layer)
    found = guess.empty(sums)
    if found is None:
        return ""
    below, limit = found
    return (
        f"{below:,} of {len(sums):,} cells have fewer than {limit:,} counts"
        f"{' (of those examined)' * (len(sums) < file.cells.n_obs)}, like the barcodes without a "
        f"cell in raw_feature_bc_matrix: use the filtered matrix, or leave them out with "
        f"{said('min-counts', ['500'])} or another number"
    )


def _totals(file: CellFile, layer: str) -> np.ndarray:
    """The sum of each cell; for a file on disk, of its first `LOOKED_AT` cells."""
    with _source(file, layer, "") as matrix:
        part = matrix[:LOOKED_AT] if file.on_disk else matrix
        return np.asarray(part.sum(axis=1, dtype=np.float64)).ravel()


# ---------------------------------------------------------------------- the values


def prepared(file: CellFile, recipe: Recipe) -> anndata.AnnData:
    """The cells of a file in memory, as clustered: X float32 (dense or CSR) and names.

    Raises UserError for missing features, and for values that are not finite or that the transform
    cannot take, naming the first such cell and feature.
    """
    with _source(file, recipe.layer, recipe.use_rep) as matrix:
        return _apply(recipe, matrix, file.cells.obs_names, file)


def require_differences(cells: anndata.AnnData, path: str | Path) -> None:
    """Raise UserError where every feature is constant over all cells."""
    matrix = cells.X
    if sp.issparse(matrix):
        same = bool((matrix.max(axis=0).toarray() == matrix.min(axis=0).toarray()).all())
    else:
        same = all(np.all(matrix[i] == matrix[0]) for i in range(1, len(matrix)))
    if same:
        raise UserError(
            f"{path}: every feature is constant over all cells, so nothing can be clustered; "
            "choose other features or values."
        )


def pieces(file: CellFile, recipe: Recipe) -> Iterator[anndata.AnnData]:
    """As `prepared`, some thousands of cells at a time; of a file on disk no more is in memory."""
    names = file.cells.obs_names
    step = max(1, PIECE_VALUES // max(1, len(_stored_names(file, recipe.use_rep))))
    with _source(file, recipe.layer, recipe.use_rep) as matrix:
        for start in range(0, len(names), step):
            part = slice(start, start + step)
            yield _apply(recipe, matrix[part], names[part], file)


def inverted(recipe: Recipe, values: np.ndarray) -> np.ndarray:
    """The model's values in the file's units, except that library size is not undone."""
    for step in reversed(recipe.steps):
        if step["step"] == "arcsinh":
            values = np.sinh(values) * np.float32(step["cofactor"])
        elif step["step"] == "log1p":
            values = np.expm1(values)
    return values


def counts(file: CellFile, recipe: Recipe) -> Any:
    """The raw counts of the recipe's features, (n_cells, n_features), if it transforms counts.

    None for other values, for fractions, and for a file that stays on disk.
    """
    if not recipe.library or file.on_disk:
        return None
    columns = _stored_names(file, recipe.use_rep).get_indexer(recipe.features)
    with _source(file, recipe.layer, recipe.use_rep) as matrix:
        found = matrix[:, columns]
    values = found.data if sp.issparse(found) else found
    return None if (values % 1).any() else found


def write_prepared(file: CellFile, recipe: Recipe, path: Path) -> None:
    """Write `pieces` to a new h5ad, one by one: what a file on disk is clustered from."""
    with h5py.File(path, "w") as target:
        target.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        anndata.io.write_elem(target, "obs", pd.DataFrame(index=file.cells.obs_names))
        anndata.io.write_elem(target, "var", pd.DataFrame(index=pd.Index(recipe.features)))
        anndata.io.write_elem(target, "uns", _uns(file, recipe))
        done = 0
        for piece in pieces(file, recipe):
            if sp.issparse(piece.X):
                _append(target, piece.X)
            else:
                if done == 0:
                    # contiguous and uncompressed, so that it can be memory-mapped
                    shape = (file.cells.n_obs, len(recipe.features))
                    stored = target.create_dataset("X", shape, np.float32)
                    stored.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
                target["X"][done : done + piece.n_obs] = piece.X
            done += piece.n_obs


def _append(target: h5py.File, rows: sp.csr_matrix) -> None:
    if "X" in target:
        anndata.io.sparse_dataset(target["X"]).append(rows)
    else:
        rows.indptr = rows.indptr.astype(np.int64)  # all pieces may hold more than 2³¹ values
        anndata.io.write_elem(target, "X", rows)


@contextmanager
def _source(file: CellFile, layer: str, use_rep: str) -> Iterator[Any]:
    """The matrix that a recipe starts from, to be sliced by rows, in memory or on disk."""
    if layer and use_rep:
        raise UserError("values come from a layer or from use_rep, not from both; give only one.")
    if (layer or use_rep) and file.kind != "h5ad":
        raise UserError(
            f"{file.path} is not an h5ad file and so has no layers or obsm; omit these options."
        )
    group, name = ("layers", layer) if layer else ("obsm", use_rep) if use_rep else ("", "X")
    with ExitStack() as stack:
        place = stack.enter_context(h5py.File(file.path)) if file.on_disk else file.cells
        if group:
            present = place[group] if file.on_disk else getattr(place, group)
            if name not in present:
                there = ", ".join(names_in(present)) or "-"
                raise UserError(f"{file.path} has no '{name}' in {group}; it has: {there}.")
            matrix = present[name]
        else:
            matrix = place.get("X") if file.on_disk else place.X
        if matrix is None:
            raise UserError(f"{file.path} has no X; name a layer or an obsm key (use_rep).")
        if isinstance(matrix, h5py.Group):
            matrix = _sparse_on_disk(file, matrix)
        elif isinstance(matrix, pd.DataFrame):
            matrix = matrix.to_numpy()
        if matrix.dtype.kind not in "biuf":
            raise UserError(f"{file.path}: '{name}' holds {matrix.dtype} instead of numbers.")
        yield matrix


def _sparse_on_disk(file: CellFile, group: h5py.Group) -> Any:
    old = group.attrs.get("h5sparse_format")  # before anndata 0.7
    stored = f"{old if isinstance(old, str) else old.decode()}_matrix" if old is not None else None
    if (stored := group.attrs.get("encoding-type", stored)) != "csr_matrix":
        raise UserError(
            f"{file.path} stores its values as {stored}, which cannot be "
            "read cell by cell from disk; write it with X as csr_matrix or array."
        )
    return anndata.io.sparse_dataset(group)


def _stored_names(file: CellFile, use_rep: str) -> pd.Index:
    if not use_rep:
        return file.cells.var_names
    with _source(file, "", use_rep) as matrix:
        return pd.Index([f"{use_rep}_{i}" for i in range(matrix.shape[1])])


def _apply(recipe: Recipe, matrix: Any, cell_names: pd.Index, file: CellFile) -> anndata.AnnData:
    inputs = recipe.library or recipe.features
    stored = _stored_names(file, recipe.use_rep)
    columns = stored.get_indexer(inputs)
    if (columns < 0).any():
        missing = [name for name, column in zip(inputs, columns, strict=True) if column < 0]
        text = [name for name in missing if file.kind == "table" and name in file.cells.obs]
        if text:
            _require_points(file, text)
            raise UserError(
                f"{file.path} has text in features that the model needs ({listed(text)}; "
                f"{_example(file, text[0])}); write numbers there."
            )
        raise UserError(
            f"{file.path} lacks {len(missing)} of the {len(inputs)} features that the model needs "
            f"({listed(missing)}); it has {listed(stored) or 'none'}."
        )
    if not np.array_equal(columns, np.arange(len(stored))):
        matrix = matrix[:, columns]
    with np.errstate(over="ignore"):  # values beyond float32 are reported just below
        if sp.issparse(matrix):
            matrix = sp.csr_matrix(matrix, dtype=np.float32)
        else:
            matrix = np.ascontiguousarray(matrix, dtype=np.float32)
    cells = anndata.AnnData(
        matrix,
        obs=pd.DataFrame(index=cell_names),
        var=pd.DataFrame(index=pd.Index(inputs)),
        uns=_uns(file, recipe),
    )
    _require_finite(cells, file)
    _require_domain(cells, recipe, file)
    cells = preprocess(cells, recipe.steps)
    return cells if inputs == recipe.features else cells[:, recipe.features].copy()


def _uns(file: CellFile, recipe: Recipe) -> dict[str, Any]:
    """The shape of images, where all pixels are there."""
    shape = file.cells.uns.get("image_shape")
    whole = not recipe.use_rep and recipe.features == list(file.cells.var_names)
    return {"image_shape": shape} if shape is not None and whole else {}


def _require_finite(cells: anndata.AnnData, file: CellFile) -> None:
    wrong = _first(cells, lambda values: ~np.isfinite(values))
    if wrong:
        raise UserError(
            f"{file.path}: {wrong}, which is not finite; remove such cells or leave the feature "
            "out."
        )


def _require_domain(cells: anndata.AnnData, recipe: Recipe, file: CellFile) -> None:
    """Raise UserError for negative values under log(1 + x), which is for counts and the like."""
    if any(step["step"] == "log1p" for step in recipe.steps):
        wrong = _first(cells, lambda values: values < 0)
        if wrong:
            raise UserError(
                f"{file.path}: {wrong}, but log(1 + x) needs values of at least 0; use another "
                "transform."
            )


def _first(cells: anndata.AnnData, wrong: Callable[[np.ndarray], np.ndarray]) -> str:
    """Where the first wrong value is and what it is, in words; "" if none is wrong."""
    sparse = sp.issparse(cells.X)
    stored = cells.X.data if sparse else cells.X
    at = wrong(stored)
    if not at.any():
        return ""
    if sparse:
        first = np.flatnonzero(at)[0]
        row = np.searchsorted(cells.X.indptr, first, side="right") - 1
        column, value = cells.X.indices[first], stored[first]
    else:
        row, column = np.argwhere(at)[0]
        value = stored[row, column]
    return (
        f"cell '{cells.obs_names[row]}' has the value {value:g} in feature "
        f"'{cells.var_names[column]}'"
    )
