"""Which cells are similar: the matrix S that the gate learns to reproduce (Eq 7).

`build` makes a `Similarity` of one of the KINDS, or of a matrix that the user brings. It gives S
batch by batch, so that no dense (n_cells, n_cells) matrix is ever held. The slow parts (UMAP,
communities) are computed once for a data set and its parameters, and can be kept in a folder.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn.functional import one_hot

from moesimvae import files
from moesimvae.errors import UserError
from moesimvae.model import cutting
from moesimvae.model.graphs import (
    apart,
    graph_of,
    jaccard_graph,
    nearest_neighbours,
    symmetric,
)
from moesimvae.model.projection import (
    AUTO_PCA_ABOVE,
    BLOCK,
    ROTATION_INVARIANT,
    Matrix,
    NeighbourSearch,
    count_components,
    landmark_cells,
    principal_components,
    umap_projection,
)

Arrays = dict[str, np.ndarray]
BY_GROUP = "by_group"  # a value of `batch_neighbors`


# ---------------------------------------------------------------------- the kinds' parameters


@dataclass(frozen=True)
class UmapKnn:
    """S_ij = 1 when i is among the k nearest of j in a UMAP projection within the batch, or j of i.

    n_neighbors, metric, n_components: of UMAP; any metric that UMAP knows (Canberra for CyTOF).
    n_pca: principal components UMAP is made from; None takes all features; "auto" takes 50 where
        there are more than 100 features and the metric is Euclidean or cosine.
    batch_neighbors: k; None takes half of a cluster's even share of the batch, at least 3;
        "by_group" takes three quarters of the cells that a batch holds of j's group (`find_groups`;
        half where groups do not stand out), also at least 3, so that a large group is not cut.
    landmarks: with more cells than this, UMAP is made from this many, drawn at random, and the
        other cells are placed among them.
    """

    n_neighbors: int = 15
    metric: str = "euclidean"
    n_components: int = 2
    n_pca: int | str | None = "auto"
    batch_neighbors: int | str | None = None
    landmarks: int = 100_000

    def __post_init__(self) -> None:
        k = self.batch_neighbors
        if k is not None and k != BY_GROUP and (isinstance(k, str) or k < 1):
            raise UserError(
                f"batch_neighbors of the similarity 'umap_knn' is {k!r}; it must be a whole number "
                f"above 0, '{BY_GROUP}' or None."
            )


@dataclass(frozen=True)
class UmapDistance:
    """S_ij = 1 when i and j lie at most `radius` apart in a UMAP projection.

    radius: None takes the first valley of the distances between cells (see `valley`).
    The other parameters are those of UmapKnn.
    """

    n_neighbors: int = 15
    metric: str = "euclidean"
    n_components: int = 2
    n_pca: int | str | None = "auto"
    radius: float | None = None
    landmarks: int = 100_000


@dataclass(frozen=True)
class Communities:
    """S_ij = share of the repeats in which i and j are in the same one of exactly K groups.

    The graph of shared nearest neighbours (as in PhenoGraph) is split into some hundred fine
    communities, and these are joined until as many groups are left as clusters are asked for, in
    several ways, of which the purest is taken (`cutting.cut`). Each repeat starts from other fine
    communities. For populations of very uneven size, which `umap_knn` cuts into even parts.

    n_neighbors: of the graph. n_pca: principal components that distances are measured in; None
        takes all features; "auto" takes twice as many as stand out from chance, 15 to 50
        (`projection.count_components`), where there are more than 100 features.
    resolutions: lowest and highest of 8, at equal ratios; 1 is modularity itself.
    balance: cells are drawn into batches with probability ∝ (size of their group)^−balance,
        since two cells of a rare group would hardly ever meet in a batch otherwise. 0: uniformly.
    landmarks: with more cells than this, all is done with this many, drawn at random, and any
        other cell is put where most of its 5 nearest landmarks are.
    """

    n_neighbors: int = 30
    n_pca: int | str | None = "auto"
    resolutions: Sequence[float] = (0.05, 0.5)
    repeats: int = 3
    balance: float = 1.0
    landmarks: int = 50_000

    def ladder(self) -> np.ndarray:
        """The resolutions, (8,)."""
        lowest, highest = self.resolutions
        return np.geomspace(lowest, highest, 8)


KINDS: dict[str, type] = {
    "umap_knn": UmapKnn,
    "umap_distance": UmapDistance,
    "communities": Communities,
}


# ---------------------------------------------------------------------- what a similarity is


class Similarity:
    """A function: batch of cell indices (n,) → S (n, n), symmetric, in [0, 1], diagonal 0.

    sampling: (n_cells,) probabilities with which cells are best drawn into batches; None: uniform.
    facts: what was chosen automatically and how long it took; JSON-able.
    groups: (n_cells,) from 0, those that set the cells' numbers of neighbours, where any do.
    """

    def __init__(
        self,
        pairs: Callable[..., Tensor],
        arrays: tuple[Tensor, ...],
        sampling: np.ndarray | None = None,
        facts: Mapping[str, Any] | None = None,
        groups: np.ndarray | None = None,
    ):
        """pairs(index, *arrays) → S of the batch."""
        self.groups = groups
        self._pairs = pairs
        self._arrays = arrays
        self.sampling = sampling
        self.facts: dict[str, Any] = dict(facts or {})

    def to(self, device: torch.device | str) -> Similarity:
        """The same with its arrays on a device; batches of indices must be there, too."""
        arrays = tuple(array.to(device) for array in self._arrays)
        return Similarity(self._pairs, arrays, self.sampling, self.facts, self.groups)

    def __call__(self, index: Tensor) -> Tensor:
        return self._pairs(index, *self._arrays)


def build(
    spec: str | Mapping[str, Any] | sparse.spmatrix,
    cells: Matrix,
    *,
    seed: int,
    n_clusters: int,
    batch_size: int,
    prior: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    cache: str | Path | None = None,
) -> Similarity:
    """Make the similarity of a data set.

    spec: the name of a kind; or {"kind": name, parameter: value, …} (see KINDS for parameters and
        defaults); or a sparse (n_cells, n_cells) matrix of values in [0, 1], of which the larger of
        S_ij and S_ji counts, and the diagonal does not.
    cells: (n_cells, n_features), dense or CSR, finite; also an encoder's features.
    n_clusters, batch_size: for parameters that are chosen automatically.
    prior: (n_cells,) integers, groups known beforehand, −1 = unknown. Between two known cells S is
        1 in the same group and 0 otherwise, whatever the kind says; where all cells are known,
        nothing else is computed.
    clusters: (n_cells,) from 0, those that the phase before has left. Where neighbours follow the
        size of groups, these take the groups' place if they fit S better (`_take_better`).
    cache: folder where projections and communities are kept and found again, by a hash of the
        cells, the parameters that matter for them, the seed and the version of the code.

    Raises UserError for an unknown kind or parameter, or a matrix or prior that does not fit.
    """
    started = monotonic()
    n_cells = cells.shape[0]
    if sparse.issparse(spec):
        similarity = _build_of_matrix(spec, n_cells)
    elif prior is not None and np.min(prior) >= 0:
        parse(spec)
        similarity = Similarity(_no_pairs, (), facts={"kind": "prior"})
    else:
        kind, parameters = parse(spec)
        batch_size = min(batch_size, n_cells)
        similarity = _BUILDERS[kind](
            parameters, cells, seed, n_clusters, batch_size, cache, clusters
        )
        similarity.facts = {"kind": kind} | similarity.facts
    if prior is not None:
        similarity = _add_prior(similarity, prior, n_cells)
    similarity.facts["seconds"] = round(monotonic() - started, 2)
    return similarity


def parse(spec: str | Mapping[str, Any]) -> tuple[str, Any]:
    """The name of the kind and its parameters, complete with defaults.

    Raises UserError for an unknown kind or parameter.
    """
    given = {"kind": spec} if isinstance(spec, str) else dict(spec)
    kind = given.pop("kind", None)
    if kind not in KINDS:
        raise UserError(f"there is no similarity '{kind}'; choose from: {', '.join(KINDS)}.")
    known = [field.name for field in fields(KINDS[kind])]
    for name in given:
        if name not in known:
            raise UserError(
                f"the similarity '{kind}' has no parameter '{name}'; it has: {', '.join(known)}."
            )
    return kind, KINDS[kind](**given)


# ---------------------------------------------------------------------- UMAP


def _build_umap_knn(
    parameters: UmapKnn,
    cells: Matrix,
    seed: int,
    n_clusters: int,
    batch_size: int,
    cache: str | Path | None,
    clusters: np.ndarray | None = None,
) -> Similarity:
    points, facts = _project(parameters, cells, seed, cache)
    k = parameters.batch_neighbors
    if k == BY_GROUP:
        groups = find_groups(points, n_clusters, seed)
        if clusters is not None:
            groups = _take_better(points, groups, clusters, n_clusters, batch_size, seed)
        stand_out = np.bincount(groups).min() >= len(groups) / (2 * n_clusters)
        share = OF_GROUP if stand_out else OF_GROUP_UNSURE
        of_groups = _count_neighbors(groups, share, batch_size)
        built = _knn_by_group(points, groups, of_groups)
        built.facts = facts | {"batch_neighbors": of_groups.tolist()}
        return built
    if k is None or isinstance(k, str):
        k = max(LEAST_NEIGHBORS, batch_size // (2 * n_clusters))
    return Similarity(
        lambda index, points: knn_in_batch(points[index], k),
        (torch.from_numpy(points),),
        facts=facts | {"batch_neighbors": k},
    )


def _build_umap_distance(
    parameters: UmapDistance,
    cells: Matrix,
    seed: int,
    n_clusters: int,
    batch_size: int,
    cache: str | Path | None,
    clusters: np.ndarray | None = None,
) -> Similarity:
    points, facts = _project(parameters, cells, seed, cache)
    radius = parameters.radius
    if radius is None:
        radius = valley(points, n_clusters, seed)
    return Similarity(
        lambda index, points: within_distance(points[index], radius),
        (torch.from_numpy(points),),
        facts=facts | {"radius": radius},
    )


def _project(
    parameters: UmapKnn | UmapDistance, cells: Matrix, seed: int, cache: str | Path | None
) -> tuple[np.ndarray, dict[str, Any]]:
    """UMAP coordinates (n_cells, n_components) and whether they came from the cache."""
    names = ("n_neighbors", "metric", "n_components", "n_pca", "landmarks")
    wanted = {name: value for name, value in asdict(parameters).items() if name in names}
    if wanted["n_pca"] == "auto" and wanted["metric"] not in ROTATION_INVARIANT:
        wanted["n_pca"] = None

    def compute() -> Arrays:
        source = principal_components(cells, wanted["n_pca"], seed)
        umap = {name: value for name, value in wanted.items() if name != "n_pca"}
        return {"points": umap_projection(source, seed=seed, **umap)}

    arrays, hit = _load_or_compute(
        cache, cells, {"umap": UMAP_VERSION, "seed": seed, **wanted}, compute
    )
    return arrays["points"], {"from_cache": hit}


LEAST_NEIGHBORS = 3
# share of a group's cells in a batch that count as a cell's neighbours, where n_clusters groups of
# half an even share or more stand out, and where not
OF_GROUP, OF_GROUP_UNSURE = 0.75, 0.5
BATCHES_COMPARED = 20  # in which clusters of the phase before are compared with groups
SIZED_BY = 10_000  # most cells that the sizes of groups are found from
# how far purity may fall when a group is cut between its islands, and not through the middle;
# chosen on scikit-learn's digits and USPS
SAME_PURITY = 0.0005
VALLEY_CELLS = 2000  # whose distances are examined
# raise it with every change that alters the coordinates
UMAP_VERSION = 1


def knn_in_batch(points: Tensor, k: int, of_cells: Tensor | None = None) -> Tensor:
    """S_ij = 1 when i is among the k nearest of j or j among those of i, within the batch.

    points: (n, d). k is capped at n − 1. of_cells: (n,) how many of its k nearest count for each
    cell; all where None. Ties between equally near points are broken by torch.
    """
    n = len(points)
    distance = _measure_distances(points)
    distance.fill_diagonal_(torch.inf)
    nearest = distance.topk(min(k, n - 1), largest=False).indices
    near = torch.ones_like(nearest, dtype=distance.dtype)
    if of_cells is not None:
        rank = torch.arange(nearest.shape[1], device=points.device)
        near = (rank < of_cells[:, None]).to(distance.dtype)
    directed = torch.zeros_like(distance).scatter_(1, nearest, near)
    return torch.maximum(directed, directed.T)


def find_groups(points: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Groups (n_cells,), from 0, of points (n_cells, n_dimensions), half an even share or more.

    They are those of "communities". A smaller one may be an island of a larger one. So more groups
    are cut, as long as that splits no coherent group, until `n_clusters` of them are large enough;
    each island then joins the large group nearest to it. Where `n_clusters` large groups are not
    found, the smaller ones are groups, too.
    """
    parameters = Communities(n_pca=None, landmarks=SIZED_BY)
    arrays = _partition(parameters, points, seed)
    enough = len(points) / (2 * n_clusters)
    pure, larger, groups = 0.0, 0, np.zeros(len(points), dtype=np.int64)
    for n_groups in range(n_clusters, 2 * n_clusters + 1):
        labels, purities = _cut(parameters, arrays, points, n_groups, seed)
        purity = next(iter(purities.values()))
        if purity < pure - SAME_PURITY:
            break
        pure = max(pure, purity)
        voted = np.unique(cutting.vote(labels, n_groups), return_inverse=True)[1]
        if (np.bincount(voted) >= enough).sum() > larger:
            groups, larger = voted, int((np.bincount(voted) >= enough).sum())
        if larger >= n_clusters:
            break
    if larger < n_clusters:
        return groups
    sizes = np.bincount(groups)
    means = np.column_stack([np.bincount(groups, c) for c in points.T]) / sizes[:, None]
    large, joined = np.flatnonzero(sizes >= enough), np.arange(len(sizes))
    for island in np.flatnonzero(sizes < enough):
        joined[island] = large[np.square(means[large] - means[island]).sum(axis=1).argmin()]
    return np.unique(joined[groups], return_inverse=True)[1]


def _count_neighbors(groups: np.ndarray, share: float, batch_size: int) -> np.ndarray:
    """For each group (n_groups,), `share` of its cells in a batch, at least LEAST_NEIGHBORS."""
    in_batch = batch_size * np.bincount(groups) / len(groups)
    return np.maximum(LEAST_NEIGHBORS, np.round(share * in_batch)).astype(np.int64)


def _knn_by_group(points: np.ndarray, groups: np.ndarray, of_groups: np.ndarray) -> Similarity:
    most = int(of_groups.max())
    return Similarity(
        lambda index, points, k: knn_in_batch(points[index], most, k[index]),
        (torch.from_numpy(points), torch.from_numpy(of_groups[groups])),
        groups=groups,
    )


def _take_better(
    points: np.ndarray,
    groups: np.ndarray,
    clusters: np.ndarray,
    n_clusters: int,
    batch_size: int,
    seed: int,
) -> np.ndarray:
    """The one of two labellings (n_cells,) that agrees better, in batches, with S of its own sizes.

    groups: as `find_groups` gives them; where there are more than `n_clusters`, clusters are taken.
    """
    if groups.max() >= n_clusters:
        return clusters
    random = np.random.default_rng(seed)
    wrong = np.zeros(2)
    batches = [
        random.choice(len(points), batch_size, replace=False) for _ in range(BATCHES_COMPARED)
    ]
    for i, labels in enumerate((groups, clusters)):
        of_groups = _count_neighbors(labels, OF_GROUP_UNSURE, batch_size)
        similar = _knn_by_group(points, labels, of_groups)
        for index in batches:
            same = np.equal.outer(labels[index], labels[index])
            wrong[i] += np.abs(similar(torch.from_numpy(index)).numpy() - same).mean()
    return groups if wrong[0] < wrong[1] else clusters


def within_distance(points: Tensor, radius: float) -> Tensor:
    """S_ij = 1 when i and j lie at most `radius` apart. points: (n, d)."""
    return (_measure_distances(points) <= radius).to(points.dtype).fill_diagonal_(0.0)


def _measure_distances(points: Tensor) -> Tensor:
    """Euclidean distances (n, n); the faster matrix products would not give duplicates exact 0."""
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")


def valley(points: np.ndarray, n_clusters: int, seed: int) -> float:
    """The first valley in the histogram of distances between cells, 2,000 at the most.

    Where clusters lie apart, distances within them form the first hill of the histogram (200
    bins, smoothed by a Gaussian of 2 bins); a valley is a fifth lower than the hills on both sides.
    Where there is none among the nearer half of the pairs, the distance within which
    1 / n_clusters of the pairs lie is taken.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.spatial.distance import pdist

    random = np.random.default_rng(seed)
    chosen = random.choice(len(points), min(VALLEY_CELLS, len(points)), replace=False)
    distance = pdist(points[chosen].astype(np.float64))
    if distance.size == 0 or distance.max() == 0:
        return 0.0
    counts, edges = np.histogram(distance, bins=200)
    hill = gaussian_filter1d(counts.astype(np.float64), 2)
    before = np.maximum.accumulate(hill)
    after = np.maximum.accumulate(hill[::-1])[::-1]
    deep = hill < 0.8 * np.minimum(before, after)
    if deep.any():
        start = int(deep.argmax())
        length = int(np.append(deep[start:], False).argmin())
        lowest = start + int(hill[start : start + length].argmin())
        radius = float(edges[lowest] + edges[lowest + 1]) / 2
        if radius < np.median(distance):
            return radius
    return float(np.quantile(distance, 1 / n_clusters))


# ---------------------------------------------------------------------- communities

# a group counts as at least this large when cells are drawn into batches
RARE_CELLS = 20
RARE_SHARE = 0.001
# raise it with every change that alters the communities
COMMUNITIES_VERSION = 4
VOTERS = 5  # landmarks that vote on where another cell belongs
# cells and nearest neighbours that purity of groups is measured by
PURITY_CELLS, PURITY_NEIGHBOURS = 5_000, 15


def _build_communities(
    parameters: Communities,
    cells: Matrix,
    seed: int,
    n_clusters: int,
    batch_size: int,
    cache: str | Path | None,
    clusters: np.ndarray | None = None,
) -> Similarity:
    groups, facts = group(parameters, cells, seed, n_clusters, cache)
    voted = cutting.vote(groups, n_clusters)
    facts["groups"] = len(np.unique(voted))
    sampling = _balance(voted, parameters.balance) if parameters.balance else None
    return Similarity(
        lambda index, groups: shared_groups(groups[index], n_clusters),
        (torch.from_numpy(groups),),
        sampling=sampling,
        facts=facts,
    )


def group(
    parameters: Communities,
    cells: Matrix,
    seed: int,
    n_clusters: int,
    cache: str | Path | None = None,
) -> tuple[np.ndarray, dict[str, Any]]:
    """The groups behind the similarity "communities": (n_cells, repeats) int16; facts, JSON-able.

    In each repeat exactly `n_clusters`, fewer only where there are fewer fine communities.
    """
    points, n_pca = components(parameters, cells, seed)
    parameters = replace(parameters, n_pca=n_pca)
    arrays, hit = _find_communities(parameters, cells, points, seed, cache)
    labels, purities = _cut(parameters, arrays, points, n_clusters, seed)
    facts = {
        "from_cache": hit,
        "components": points.shape[1],
        "fine_communities": int(arrays["fine"].max()) + 1,
        "joined_by": next(iter(purities)),
        "purity": {way: round(value, 4) for way, value in purities.items()},
    }
    return labels, facts


def _cut(
    parameters: Communities, arrays: Arrays, points: np.ndarray, n_groups: int, seed: int
) -> tuple[np.ndarray, dict[str, float]]:
    """Apply `cutting.cut` to what `_partition` gives: (n_cells, repeats) int16; way → purity."""
    chosen = landmark_cells(points.shape[0], parameters.landmarks, seed)
    repeats = [
        cutting.Fine(of, weights[: of.max() + 1, : of.max() + 1], groups[: of.max() + 1])
        for of, weights, groups in zip(
            arrays["fine"].T, arrays["weights"], arrays["groups"], strict=True
        )
    ]
    labels, purities = cutting.cut(
        points if chosen is None else points[chosen],
        repeats,
        n_groups,
        seed,
        chosen=arrays["purity_cells"],
        neighbours=arrays["purity_neighbours"],
    )
    labels = labels.astype(np.int16)
    if chosen is not None:
        labels = _place(labels, chosen, len(points), arrays["voters"])
    return labels, purities


def shared_groups(groups: Tensor, n_groups: int) -> Tensor:
    """Share of repeats in which two share a group, diagonal 0: (n, repeats) numbers → (n, n)."""
    # one product of memberships takes a third of the time of comparing pairs
    member = one_hot(groups.long(), n_groups).flatten(1).float()
    return (member @ member.T / groups.shape[1]).fill_diagonal_(0.0)


def _balance(groups: np.ndarray, balance: float) -> np.ndarray:
    """Probability of each cell ∝ (size of its group)^−balance, (n_cells,) float64.

    A group counts as at least `RARE_CELLS` cells and `RARE_SHARE` of all: otherwise batches would
    be full of the few cells that resemble no other.
    """
    least = max(RARE_CELLS, RARE_SHARE * len(groups))
    probability = np.maximum(np.bincount(groups)[groups], least) ** -float(balance)
    return probability / probability.sum()


def components(parameters: Communities, cells: Matrix, seed: int) -> tuple[np.ndarray, int | None]:
    """Points to measure distances in, (n_cells, n_dimensions), dense; the number of components.

    The number is None for the cells themselves. cells: (n_cells, n_features).
    """
    n_pca: Any = parameters.n_pca
    if n_pca == "auto":
        n_pca = count_components(cells, seed) if cells.shape[1] > AUTO_PCA_ABOVE else None
    points = principal_components(cells, n_pca, seed)
    return points if isinstance(points, np.ndarray) else points.toarray(), n_pca


def _find_communities(
    parameters: Communities, cells: Matrix, points: np.ndarray, seed: int, cache: str | Path | None
) -> tuple[Arrays, bool]:
    """What `_partition` gives; and whether it comes from the cache.

    points: the principal components of the cells.
    """
    wanted = asdict(parameters)
    del wanted["balance"]  # what this part does not depend on
    key = {"communities": COMMUNITIES_VERSION, "seed": seed, **wanted}
    return _load_or_compute(cache, cells, key, lambda: _partition(parameters, points, seed))


def _partition(parameters: Communities, points: np.ndarray, seed: int) -> Arrays:
    """Communities of the landmarks, or of all cells where these are few enough.

    fine: (n_cells, repeats) int16; weights: (repeats, n_fine, n_fine) and groups: (repeats,
    n_fine, n_resolutions) int16, as in `cutting.Fine`, padded; voters: (n_others, VOTERS)
    landmarks nearest to each of the other cells, nearest first; purity_cells, purity_neighbours:
    as in `cutting.purity`.
    """
    chosen = landmark_cells(len(points), parameters.landmarks, seed)
    part = apart(points if chosen is None else points[chosen], parameters.n_neighbors, seed)
    search = None
    if chosen is not None:
        k = min(parameters.n_neighbors, len(part) - 1) + 1
        search = NeighbourSearch(part, k, "euclidean", seed)
    neighbours = nearest_neighbours(part, parameters.n_neighbors, seed, search)
    graph = symmetric(jaccard_graph(graph_of(neighbours)))
    voters = np.empty((0, VOTERS), dtype=np.int32)
    if chosen is not None and search is not None:
        near = [near for _, near, _ in search.others(points, chosen, VOTERS)]
        voters = np.concatenate(near).astype(np.int32)
    seeds = range(seed * parameters.repeats, (seed + 1) * parameters.repeats)
    repeats = list(cutting.Fine.find(graph, parameters.ladder(), seeds))
    n_fine = max(len(fine.weights) for fine in repeats)
    padded = [(fine, (0, n_fine - len(fine.weights))) for fine in repeats]
    random = np.random.default_rng(seed)
    some = random.choice(len(part), min(PURITY_CELLS, len(part)), replace=False)
    return {
        "fine": np.column_stack([fine.of for fine in repeats]).astype(np.int16),
        "weights": np.stack([np.pad(fine.weights, more) for fine, more in padded]),
        "groups": np.stack([np.pad(fine.groups, (more, (0, 0))) for fine, more in padded]).astype(
            np.int16
        ),
        "voters": voters,
        "purity_cells": some,
        "purity_neighbours": neighbours[some, :PURITY_NEIGHBOURS],
    }


def _place(labels: np.ndarray, chosen: np.ndarray, n_cells: int, voters: np.ndarray) -> np.ndarray:
    """The landmarks' labels (n_landmarks, repeats) → those of all cells (n_cells, repeats)."""
    everywhere = np.empty((n_cells, labels.shape[1]), dtype=labels.dtype)
    everywhere[chosen] = labels
    others = np.setdiff1d(np.arange(n_cells), chosen, assume_unique=True)
    for start in range(0, len(others), BLOCK):
        votes = labels[voters[start : start + BLOCK]]  # (rows, voters, repeats)
        agreeing = (votes[:, :, None] == votes[:, None]).sum(axis=2)
        first_of_most = agreeing.argmax(axis=1)[:, None]
        placed = np.take_along_axis(votes, first_of_most, axis=1)[:, 0]
        everywhere[others[start : start + BLOCK]] = placed
    return everywhere


# ---------------------------------------------------------------------- what the user provides


def _build_of_matrix(matrix: sparse.spmatrix, n_cells: int) -> Similarity:
    if matrix.shape != (n_cells, n_cells):
        raise UserError(
            f"the similarity matrix has the shape {matrix.shape[0]} × {matrix.shape[1]}, but there "
            f"are {n_cells} cells; give one row and one column per cell, in the same order."
        )
    matrix = sparse.csr_matrix(matrix, dtype=np.float32)
    low, high = (matrix.data.min(), matrix.data.max()) if matrix.nnz else (0.0, 0.0)
    if not (low >= 0 and high <= 1):
        raise UserError(
            f"the similarity matrix has values from {low:.4g} to {high:.4g}; they must be finite "
            "and in [0, 1]."
        )
    matrix = matrix.maximum(matrix.T).tocsr()

    def pairs(index: Tensor) -> Tensor:
        rows = index.cpu().numpy()
        batch = torch.from_numpy(matrix[rows][:, rows].toarray()).to(index.device)
        return batch.fill_diagonal_(0.0)

    return Similarity(pairs, (), facts={"kind": "matrix", "pairs": int(matrix.nnz)})


def _no_pairs(index: Tensor) -> Tensor:
    return torch.zeros((len(index), len(index)), device=index.device)


def _add_prior(similarity: Similarity, prior: np.ndarray, n_cells: int) -> Similarity:
    groups = np.asarray(prior)
    if groups.shape != (n_cells,) or not np.issubdtype(groups.dtype, np.integer):
        raise UserError(
            f"prior has shape {groups.shape} and type {groups.dtype}, expected one whole number "
            f"for each of the {n_cells} cells, -1 where the group is unknown."
        )

    def pairs(index: Tensor, groups: Tensor, *arrays: Tensor) -> Tensor:
        s = similarity._pairs(index, *arrays)
        group = groups[index]
        known = group >= 0
        both = known[:, None] & known[None, :]
        same = (group[:, None] == group[None, :]).to(s.dtype)
        return torch.where(both, same, s).fill_diagonal_(0.0)

    arrays = (torch.from_numpy(groups.astype(np.int64)), *similarity._arrays)
    facts = similarity.facts | {"prior_known": int((groups >= 0).sum())}
    return Similarity(pairs, arrays, similarity.sampling, facts)


# ---------------------------------------------------------------------- keeping what is slow


def _load_or_compute(
    cache: str | Path | None,
    cells: Matrix,
    wanted: Mapping[str, Any],
    compute: Callable[[], Arrays],
) -> tuple[Arrays, bool]:
    """The arrays from the cache, else computed and stored there; and whether they were found."""
    if cache is None:
        return compute(), False
    key = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode())
    key.update(_hash_cells(cells))
    path = Path(cache) / f"similarity-{key.hexdigest()[:32]}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored), True
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        pass  # missing, or damaged: written by another program or truncated
    arrays = compute()
    with files.atomic(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type] # taken for allow_pickle
    return arrays, False


def _hash_cells(cells: Any) -> bytes:
    """Hash of the cells' values, shape, type and kind of storage."""
    is_sparse = sparse.issparse(cells)
    parts = [cells.data, cells.indices, cells.indptr] if is_sparse else [cells]
    digest = hashlib.sha256(f"{is_sparse} {cells.shape}".encode())
    for part in parts:
        digest.update(part.dtype.str.encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.digest()


_BUILDERS: dict[str, Callable[..., Similarity]] = {
    "umap_knn": _build_umap_knn,
    "umap_distance": _build_umap_distance,
    "communities": _build_communities,
}
