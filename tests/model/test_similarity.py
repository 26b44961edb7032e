import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from moesimvae.errors import UserError
from moesimvae.model import projection, similarity
from moesimvae.model.projection import umap_projection
from moesimvae.model.similarity import knn_in_batch, shared_groups, valley, within_distance

pytestmark = pytest.mark.filterwarnings("ignore")


def groups_apart(sizes=(60, 30, 10), n_features=6, apart=8.0, seed=0):
    random = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    means = apart * random.standard_normal((len(sizes), n_features))
    cells = means[group] + random.standard_normal((len(group), n_features))
    return cells.astype(np.float32), group


def build(spec, cells, **changes):
    options = {"seed": 0, "n_clusters": 3, "batch_size": 50} | changes
    return similarity.build(spec, cells, **options)


def whole(s, n):
    return s(torch.arange(n)).numpy()


# ---------------------------------------------------------------------- within a batch


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 12), k=st.integers(1, 14), seed=st.integers(0, 99))
def test_knn_is_symmetric_without_diagonal_and_finds_the_nearest(n, k, seed):
    points = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    found = knn_in_batch(points, k)
    distance = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag([np.inf] * n)
    slow = np.zeros((n, n))
    for i in range(n):
        for j in np.argsort(distance[i])[: min(k, n - 1)]:
            slow[i, j] = slow[j, i] = 1
    np.testing.assert_array_equal(found, slow)


def test_duplicates_are_neighbours_not_themselves():
    found = knn_in_batch(torch.full((40, 2), 7.3), 3)
    assert found.diagonal().sum() == 0
    assert (found.sum(1) >= 3).all()


def test_within_distance():
    points = torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 2.5]])
    assert within_distance(points, 1.0).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 0]]


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 9), repeats=st.integers(1, 3), seed=st.integers(0, 99))
def test_shared_groups_is_the_share_of_repeats_in_one_group(n, repeats, seed):
    groups = np.random.default_rng(seed).integers(0, 5, (n, repeats)).astype(np.int16)
    slow = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                slow[i, j] = np.mean([groups[i, r] == groups[j, r] for r in range(repeats)])
    fast = shared_groups(torch.from_numpy(groups), 5)
    np.testing.assert_allclose(fast, slow, rtol=1e-6)


# ---------------------------------------------------------------------- every kind


@pytest.fixture(scope="module")
def cells():
    return groups_apart()


@pytest.mark.parametrize("kind", similarity.KINDS)
def test_every_kind_keeps_the_promises_and_finds_groups_apart(kind, cells):
    points, group = cells
    s = build(kind, points)
    index = torch.tensor([3, 99, 4, 70, 71, 0, 95])
    batch = s(index)
    assert batch.shape == (7, 7)
    assert torch.equal(batch, batch.T)
    assert batch.diagonal().eq(0).all()
    assert batch.min() >= 0
    assert batch.max() <= 1
    torch.testing.assert_close(s.to("cpu")(index), batch)
    everything = whole(s, len(points))
    same = np.equal.outer(group, group) & ~np.eye(len(group), dtype=bool)
    assert everything[same].mean() > 10 * everything[~same].mean()
    json.dumps(s.facts)
    assert s.facts["kind"] == kind
    if s.sampling is not None:
        assert s.sampling.shape == group.shape
        assert s.sampling.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", similarity.KINDS)
def test_the_same_seed_gives_the_same_similarity(kind, cells):
    first, second = (whole(build(kind, cells[0]), 100) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("kind", similarity.KINDS)
@pytest.mark.parametrize("n", [3, 4, 7])
def test_few_cells(kind, n):
    random = np.random.default_rng(0)
    batch = whole(build(kind, random.random((n, 4)).astype(np.float32)), n)
    assert np.isfinite(batch).all()


@pytest.mark.parametrize("kind", similarity.KINDS)
def test_cells_that_coincide_and_a_constant_feature(kind):
    points = np.repeat(np.eye(3, 5, dtype=np.float32), 20, axis=0)
    assert np.isfinite(whole(build(kind, points), 60)).all()


@pytest.mark.parametrize("kind", similarity.KINDS)
def test_sparse_cells_are_the_same_cells(kind, cells):
    points = np.maximum(cells[0], 0)
    found = whole(build(kind, sparse.csr_matrix(points)), 100)
    assert np.corrcoef(found.ravel(), whole(build(kind, points), 100).ravel())[0, 1] > 0.5


def test_batch_neighbours_by_default_are_half_a_clusters_share():
    points = groups_apart()[0]
    assert build("umap_knn", points).facts["batch_neighbors"] == 50 // 6
    assert build("umap_knn", points, n_clusters=40).facts["batch_neighbors"] == 3
    chosen = build({"kind": "umap_knn", "batch_neighbors": 2}, points)
    assert (whole(chosen, 100).sum(1) >= 2).all()
    assert chosen.facts["batch_neighbors"] == 2


def test_neighbours_by_group_follow_the_sizes_of_groups():
    random = np.random.default_rng(0)
    sizes = np.array([480, 240, 180])
    truth = np.repeat(np.arange(3), sizes)
    points = (random.normal(size=(900, 5)) + 12 * np.eye(3, 5)[truth]).astype(np.float32)
    found = similarity.find_groups(points, 3, 0)
    np.testing.assert_array_equal(np.bincount(found)[found], sizes[truth])
    built = build({"kind": "umap_knn", "batch_neighbors": "by_group"}, points, batch_size=90)
    assert sorted(built.facts["batch_neighbors"]) == [14, 18, 36]
    batch = torch.from_numpy(np.sort(random.choice(900, 90, replace=False)))
    within = built(batch)[truth[batch] == 0][:, truth[batch] == 0]
    even = build("umap_knn", points, batch_size=90)(batch)[truth[batch] == 0]
    assert within.sum(1).min() >= 36  # of the 48 that a batch holds of it
    assert even.sum(1).min() < 36


def three_apart(sizes):
    truth = np.repeat(np.arange(3), sizes)
    centres = np.array([[0, 0], [30, 0], [30, 20]])
    points = np.random.default_rng(0).normal(size=(len(truth), 2)) + centres[truth]
    return points.astype(np.float32), truth


@pytest.mark.parametrize(
    ("groups", "clusters", "taken"),
    [
        ("truth", "cut and joined", "truth"),
        ("cut and joined", "truth", "truth"),
        ("joined, and an island", "truth", "truth"),
        ("four", "cut and joined", "cut and joined"),  # more than there are clusters
    ],
)
def test_neighbours_follow_groups_or_the_clusters_before_whichever_fit(groups, clusters, taken):
    points, truth = three_apart([500, 150, 150])
    labels = {
        "truth": truth,
        "cut and joined": np.where(truth > 0, 2, (points[:, 1] > 0).astype(int)),
        "joined, and an island": np.where(truth > 0, 2, (points[:, 1] > 2).astype(int)),
        "four": np.where(truth == 0, 3 * (points[:, 1] > 0), truth),
    }
    found = similarity._take_better(points, labels[groups], labels[clusters], 3, 80, 0)
    assert found is labels[taken]


def test_of_groups_that_do_not_stand_out_fewer_cells_are_neighbours(monkeypatch):
    points = three_apart([50, 30, 20])[0]
    spec = {"kind": "umap_knn", "batch_neighbors": "by_group"}
    for sizes, neighbours in (([50, 30, 20], [15, 9, 6]), ([56, 40, 4], [11, 8, 3])):
        groups = np.repeat([0, 1, 2], sizes)
        monkeypatch.setattr(similarity, "find_groups", lambda *_, groups=groups: groups)
        assert build(spec, points, batch_size=40).facts["batch_neighbors"] == neighbours


def test_a_stray_island_is_no_group_of_its_own():
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), [300, 300, 300, 40])
    centres = np.array([[0, 0], [60, 0], [60, 7], [-40, 0]])
    points = (random.normal(size=(940, 2)) + centres[truth]).astype(np.float32)
    found = similarity.find_groups(points, 3, 0)
    np.testing.assert_array_equal(found == found[0], (truth == 0) | (truth == 3))
    assert len(np.unique(found)) == 3


def test_any_metric_of_umap():
    points = np.abs(groups_apart()[0])
    canberra = build({"kind": "umap_knn", "metric": "canberra"}, points)
    assert (whole(canberra, 100) != whole(build("umap_knn", points), 100)).any()


def test_radius_given_and_chosen(cells):
    assert build({"kind": "umap_distance", "radius": 1e-9}, cells[0])(torch.arange(9)).sum() == 0
    assert build("umap_distance", cells[0]).facts["radius"] > 0


def test_valley_lies_between_islands_and_needs_none():
    random = np.random.default_rng(0)
    islands = np.repeat([[0, 0], [40, 0], [0, 40]], 100, axis=0) + random.normal(size=(300, 2))
    radius = valley(islands, 3, seed=0)
    assert 4 < radius < 36
    hill = random.normal(size=(1000, 1))
    share = (np.abs(hill - hill.T)[np.triu_indices(1000, 1)] <= valley(hill, 5, seed=0)).mean()
    assert share == pytest.approx(1 / 5, abs=0.01)
    assert valley(np.zeros((10, 2)), 3, seed=0) == 0


# ---------------------------------------------------------------------- uneven groups


def test_communities_hold_a_rare_group_together_and_draw_it_more_often():
    points, group = groups_apart((400, 400, 25), n_features=8)
    s = build("communities", points, n_clusters=3)
    everything = whole(s, len(points))
    rare = group == 2
    inside = everything[np.ix_(rare, rare)]
    assert inside[~np.eye(25, dtype=bool)].mean() > 0.5
    assert everything[np.ix_(rare, ~rare)].max() < 0.5
    assert s.sampling[rare].min() > 2 * s.sampling[~rare].max()
    assert build({"kind": "communities", "balance": 0}, points).sampling is None


@pytest.mark.parametrize("n_clusters", [2, 5, 12])
def test_communities_are_as_many_as_asked_for_in_every_repeat(cells, n_clusters):
    groups, facts = similarity.group(similarity.Communities(), cells[0], 0, n_clusters)
    assert [len(np.unique(repeat)) for repeat in groups.T] == [n_clusters] * 3
    assert facts["joined_by"] in facts["purity"]
    share = np.mean([np.equal.outer(repeat, repeat) for repeat in groups.T], axis=0)
    np.fill_diagonal(share, 0)
    s = build("communities", cells[0], n_clusters=n_clusters)
    np.testing.assert_allclose(whole(s, 100), share, atol=1e-6)


def test_more_clusters_than_fine_communities_leave_some_empty():
    points = np.repeat(np.arange(2.0), 50)[:, None] * np.ones((1, 4))
    groups, _ = similarity.group(similarity.Communities(), points.astype(np.float32), 0, 90)
    assert groups.max() < 90


def test_components_are_those_above_chance_twice():
    random = np.random.default_rng(0)
    noise = random.normal(size=(400, 150)).astype(np.float32)
    assert projection.count_components(noise, seed=0) == projection.FEWEST_PCA
    signal = random.normal(size=(400, 12)) @ random.normal(size=(12, 150))
    assert projection.count_components(noise + signal, seed=0) == 24
    assert similarity.group(similarity.Communities(), noise, 0, 3)[1]["components"] == 15


# ---------------------------------------------------------------------- very many cells


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["umap_knn", "communities"])
def test_cells_are_placed_among_landmarks(kind, monkeypatch):
    monkeypatch.setattr(projection, "BLOCK", 150)
    points, group = groups_apart((400, 300, 200))
    spec = {"kind": kind, "landmarks": 300}
    s = build(spec, points)
    same = np.equal.outer(group, group) & ~np.eye(len(group), dtype=bool)
    everything = whole(s, len(points))
    assert everything[same].mean() > 10 * everything[~same].mean()
    np.testing.assert_array_equal(everything, whole(build(spec, points), len(points)))


@pytest.mark.slow
def test_a_placed_cell_lies_where_its_twin_does():
    points, _ = groups_apart((200, 200))
    twice = np.concatenate([points, points])
    chosen = projection.landmark_cells(800, 700, seed=0)
    placed = np.setdiff1d(np.arange(800), chosen)
    partner = (placed + 400) % 800
    found = umap_projection(twice, seed=0, landmarks=700)
    both = np.isin(partner, chosen)
    assert both.sum() > 50
    assert np.abs(found[placed[both]] - found[partner[both]]).max() < 0.05


def test_landmarks_are_none_where_all_cells_fit():
    assert projection.landmark_cells(100, 100, seed=0) is None
    chosen = projection.landmark_cells(100, 30, seed=0)
    assert len(set(chosen)) == 30


def test_umap_depends_on_the_seed_alone_and_takes_few_cells():
    matrix = np.random.default_rng(0).random((60, 5)).astype(np.float32)
    first = umap_projection(matrix, seed=3)
    np.testing.assert_array_equal(first, umap_projection(matrix, seed=3))
    assert not np.array_equal(first, umap_projection(matrix, seed=4))
    assert umap_projection(matrix[:3]).shape == (3, 2)


def test_principal_components_where_there_are_many_features():
    random = np.random.default_rng(0)
    wide = random.random((150, 120)).astype(np.float32)
    assert projection.principal_components(wide, "auto", 0).shape == (150, 50)
    assert projection.principal_components(wide[:, :100], "auto", 0).shape == (150, 100)
    assert projection.principal_components(wide, None, 0) is wide
    assert projection.principal_components(sparse.csr_matrix(wide), "auto", 0).shape == (150, 50)


# ---------------------------------------------------------------------- what the user brings


def test_a_matrix_is_taken_as_it_is_but_symmetric_and_without_diagonal():
    given = sparse.csr_matrix(np.array([[1, 0.2, 0], [0.7, 1, 0], [0.5, 0, 0]]))
    s = build(given, np.zeros((3, 2), dtype=np.float32))
    expected = [[0, 0.7, 0.5], [0.7, 0, 0], [0.5, 0, 0]]
    np.testing.assert_allclose(whole(s, 3), expected)
    batch = s(torch.tensor([2, 0]))
    np.testing.assert_allclose(batch, [[0, 0.5], [0.5, 0]])


def test_an_empty_matrix_says_that_all_differ():
    assert whole(build(sparse.csr_matrix((4, 4)), np.zeros((4, 2))), 4).sum() == 0


def test_the_prior_overrides_where_both_cells_are_known(cells):
    points, _ = cells
    plain = whole(build("umap_knn", points), 100)
    prior = np.full(100, -1)
    prior[[0, 1, 99]] = [5, 5, 2]
    prior[[2, 98]] = 7
    found = whole(build("umap_knn", points, prior=prior), 100)
    known = np.flatnonzero(prior >= 0)
    same = np.equal.outer(prior[known], prior[known]) & ~np.eye(5, dtype=bool)
    np.testing.assert_array_equal(found[np.ix_(known, known)], same)
    found[np.ix_(known, known)] = plain[np.ix_(known, known)]
    np.testing.assert_array_equal(found, plain)


def test_the_prior_alone():
    prior = np.array([0, 1, 0])
    s = build(sparse.csr_matrix((3, 3)), np.zeros((3, 2)), prior=prior)
    assert whole(s, 3).tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("spec", "prior", "message"),
    [
        ("umapknn", None, "no similarity 'umapknn'; choose from: umap_knn"),
        ({"kind": "umap_knn", "k": 3}, None, "'umap_knn' has no parameter 'k'; it has: n_neigh"),
        ({"n_neighbors": 3}, None, "no similarity 'None'"),
        ({"kind": "umap_knn", "batch_neighbors": "all"}, None, "'all'; it must be a whole number"),
        ({"kind": "umap_knn", "batch_neighbors": 0}, None, "is 0; it must be a whole number"),
        (sparse.csr_matrix((4, 5)), None, "shape 4 × 5, but there are 3 cells"),
        (sparse.csr_matrix(np.full((3, 3), 1.5)), None, "values from 1.5 to 1.5"),
        (sparse.csr_matrix(np.full((3, 3), np.nan)), None, "values from nan"),
        (sparse.csr_matrix((3, 3)), np.zeros(4, dtype=int), r"shape \(4,\) and type int"),
        (sparse.csr_matrix((3, 3)), np.zeros(3), "type float64, expected one whole number"),
    ],
)
def test_errors_are_one_sentence(spec, prior, message):
    with pytest.raises(UserError, match=message):
        build(spec, np.zeros((3, 2), dtype=np.float32), prior=prior)


# ---------------------------------------------------------------------- the cache


def test_cache_is_found_again_and_tells_what_matters(cells, tmp_path):
    points, _ = cells
    calls = {}

    def cached(spec, matrix=points, **changes):
        s = build(spec, matrix, cache=tmp_path, **changes)
        return s.facts["from_cache"], whole(s, len(matrix))

    assert not cached("umap_knn")[0]
    hit, again = cached("umap_knn")
    assert hit
    np.testing.assert_array_equal(again, whole(build("umap_knn", points), 100))
    # of the batch, not of the projection
    assert cached({"kind": "umap_knn", "batch_neighbors": 4})[0]
    assert cached("umap_distance")[0]
    for calls in ({"seed": 1}, {"spec": {"kind": "umap_knn", "n_neighbors": 5}}):
        assert not cached(**({"spec": "umap_knn"} | calls))[0]
    other = points.copy()
    other[0, 0] += 1e-3
    assert not cached("umap_knn", other)[0]
    assert not cached("communities")[0]
    assert cached({"kind": "communities", "balance": 0})[0]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more", None])
def test_a_damaged_file_is_computed_again(damage, cells, tmp_path):
    build("communities", cells[0], cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[: len(whole_file) // 2] if damage is None else damage)
    assert not build("communities", cells[0], cache=tmp_path).facts["from_cache"]
    assert build("communities", cells[0], cache=tmp_path).facts["from_cache"]


def test_parameters_are_complete_and_json(cells):
    for kind, parameters in similarity.KINDS.items():
        name, parsed = similarity.parse(json.loads(json.dumps({"kind": kind})))
        assert name == kind
        assert parsed == parameters()
        json.dumps(asdict(parsed))


def test_communities_do_not_mind_the_names_of_groups(cells):
    points, group = cells
    s = whole(build("communities", points), 100)
    same = np.equal.outer(group, group)
    assert s[same].mean() > 2 * s[~same].mean()


def test_a_prior_that_knows_every_cell_is_the_similarity():
    groups = np.arange(30) % 3
    found = build("umap_knn", np.zeros((30, 4), np.float32), prior=groups)
    expected = (groups[:, None] == groups) & ~np.eye(30, dtype=bool)
    assert (whole(found, 30) == expected).all()
    assert found.facts["kind"] == "prior"
