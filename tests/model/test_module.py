"""The terms of the loss against slow NumPy, deviation by deviation, and by finite differences."""

import copy

import numpy as np
import pytest
import torch

from moesimvae.model import losses
from moesimvae.model.experts import Experts
from moesimvae.model.module import (
    Module,
    PaperObjective,
    ReleasedObjective,
    Weights,
    paper_terms,
    released_terms,
)
from moesimvae.model.networks import Encoder, Gate

N, N_FEATURES, N_LATENT, K = 12, 5, 3, 4


@pytest.fixture
def module():
    """Of one hidden layer each, in double precision, with an expert that no cell goes to."""
    torch.manual_seed(0)
    module = Module(
        Encoder(N_FEATURES, [6], N_LATENT, "tanh"),
        Experts(K, [N_LATENT, 4, N_FEATURES], "tanh"),
        Gate(N_LATENT, [8], K, dropout=0.4, activation="tanh"),
        K,
        N_LATENT,
        free_centroids=True,
    ).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        module.gate.layers[-1].bias[2] = -12.0
    return module


@pytest.fixture
def x():
    return torch.rand(N, N_FEATURES, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def s():
    upper = torch.rand(N, N, generator=torch.Generator().manual_seed(2)).triu(1) < 0.15
    return (upper | upper.T).double()


def with_seed(function, *arguments, **settings):
    torch.manual_seed(7)
    return function(*arguments, **settings)


def noise():
    """The first that a function under `with_seed` draws for the codes."""
    return with_seed(torch.randn, N, N_LATENT, dtype=torch.double).numpy()


@pytest.fixture
def no_dropout(monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda z, p: z)


# ---------------------------------------------------------------------- slow and obvious


def softmax(a):
    e = np.exp(a - a.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def layer(linear, a):
    return a @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()


def slow_encoder(module, x):
    hidden = np.tanh(layer(module.encoder.trunk[0], x))
    return layer(module.encoder.mean, hidden), layer(module.encoder.log_variance, hidden)


def slow_gate(module, z, mask=1.0):
    first, last = module.gate.layers
    return layer(last, mask * np.tanh(layer(first, z)))


def slow_experts(module, z, assignment):
    decoded = []
    for code, k in zip(z, assignment, strict=True):
        first, last = (
            (weight[k].detach().numpy(), bias[k].detach().numpy())
            for weight, bias in zip(module.experts.weights, module.experts.biases, strict=True)
        )
        decoded.append(np.tanh(code @ first[0] + first[1]) @ last[0] + last[1])
    return np.array(decoded)


def slow_cross_entropy(prediction, target):
    return -np.mean(target * np.log(prediction) + (1 - target) * np.log(1 - prediction))


def slow_target(p):
    q = p / np.sqrt(p.sum(0))
    return q / q.sum(1, keepdims=True)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def second_moments(z, assignment, means):
    """One row for each cluster, NaN for an empty one."""
    return np.array(
        [
            np.mean((z[assignment == k] - means[k]) ** 2, axis=0)
            if (assignment == k).any()
            else np.full(z.shape[1], np.nan)
            for k in range(len(means))
        ]
    )


def check(terms, expected):
    assert set(terms) == set(expected)
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-4), name


# ---------------------------------------------------------------------- paper


def slow_paper_terms(module, x, changed, s):
    mean, log_variance = slow_encoder(module, changed)
    p = softmax(slow_gate(module, mean))
    clean = softmax(slow_gate(module, slow_encoder(module, x)[0]))
    assignment = p.argmax(1)
    z = mean + noise() * np.exp(log_variance / 2)
    means = p.T @ mean / p.sum(0)[:, None]
    sigma = second_moments(z, assignment, means) + losses.VARIANCE_FLOOR
    kl = sum(
        (assignment == k).mean() * 0.5 * np.mean(1 / sigma[k] - 1 + np.log(sigma[k]))
        for k in range(K)
        if (assignment == k).sum() > 1
    )
    off_diagonal = ~np.eye(N, dtype=bool)
    decoded = sigmoid(slow_experts(module, z, assignment))
    return {
        "reconstruction": slow_cross_entropy(decoded, changed),
        "kl": kl,
        "similarity": slow_cross_entropy((p @ p.T)[off_diagonal], s[off_diagonal]),
        "depict": -np.mean(np.sum(slow_target(clean) * np.log(p), axis=1)),
    }


@pytest.mark.usefixtures("no_dropout")
def test_paper_terms_are_equation_11(module, x, s):
    p = module.gate(module.encoder(x).mean)
    used = p.argmax(1).unique().tolist()
    assert len(used) > 1  # and at least one is empty
    assert 2 not in used
    terms = with_seed(paper_terms, module, x, s)
    check(terms, slow_paper_terms(module, x.numpy(), x.numpy(), s.numpy()))


@pytest.mark.usefixtures("no_dropout")
def test_with_augmentation_all_but_the_target_of_depict_is_of_the_changed_cells(module, x, s):
    terms = with_seed(paper_terms, module, x, s, lambda cells: 1 - cells)
    check(terms, slow_paper_terms(module, x.numpy(), 1 - x.numpy(), s.numpy()))


def test_only_the_prediction_of_depict_is_noisy(module, x, s, monkeypatch):
    mask = torch.zeros(8, dtype=torch.double)
    mask[:3] = 2.0
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda z, p: mask * z)
    expected = slow_paper_terms(module, x.numpy(), x.numpy(), s.numpy())
    mean = slow_encoder(module, x.numpy())[0]
    noisy = softmax(slow_gate(module, mean, mask.numpy()))
    target = slow_target(softmax(slow_gate(module, mean)))
    expected["depict"] = -np.mean(np.sum(target * np.log(noisy), axis=1))
    check(with_seed(paper_terms, module, x, s), expected)


def test_the_noisy_branch_uses_the_dropout_of_the_gate(module, x, s, monkeypatch):
    shares = []
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda z, p: shares.append(p) or z)
    paper_terms(module, x, s)
    assert shares == [0.4]


def test_the_means_of_equation_6_follow_the_batches_and_have_no_gradient(module, x, s):
    terms = paper_terms(module, x, s)
    mean = module.encoder(x).mean
    expected = losses.em_means(module.gate(mean).softmax(1), mean)
    found = module.means.weighted_sum / module.means.weight[:, None]
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad
    assert torch.autograd.grad(terms["kl"], module.gate.layers[0].weight, allow_unused=True) == (
        None,
    )


def test_the_target_of_depict_is_fixed_with_and_without_augmentation(module, x, s):
    for augment in (None, lambda cells: cells.sqrt()):
        terms = with_seed(paper_terms, module, x, s, augment)
        last = module.gate.layers[-1]
        gradient = torch.autograd.grad(terms["depict"], last.bias)[0]
        # of a cross-entropy with a fixed target: mean of p̂ − q
        torch.manual_seed(7)
        torch.randn(N, N_LATENT, dtype=torch.double)
        changed = x if augment is None else augment(x)
        noisy = module.gate(module.encoder(changed).mean, noisy=True).softmax(1)
        q = losses.depict_target(module.gate(module.encoder(x).mean).softmax(1))
        torch.testing.assert_close(gradient, (noisy - q).mean(0))


# ---------------------------------------------------------------------- released


def slow_released_terms(module, x, s=None, prior=None):
    z = slow_encoder(module, x)[0] + noise()  # unit scale, whatever log_variance says
    p = softmax(slow_gate(module, z))  # the gate sees the sample
    assignment = p.argmax(1)
    variance = second_moments(z, assignment, module.centroids.detach().numpy())
    used = ~np.isnan(variance[:, 0])
    each = np.where(used, 0.5 * np.sum(variance - 1 - np.log(variance), axis=1), 0)
    if prior is None:
        similarity = slow_cross_entropy(p @ p.T, s)
    else:
        similarity = slow_cross_entropy(p, np.eye(K)[prior])
    decoded = sigmoid(slow_experts(module, z, assignment))
    return {
        "reconstruction": slow_cross_entropy(decoded, x),
        "kl": each.mean(),  # over all K
        "similarity": similarity,
        "depict": -np.mean(np.sum(slow_target(p) * np.log(p), axis=1)),
    }


@pytest.fixture
def prior():
    return torch.arange(N) % K


def test_released_terms_with_a_prior(module, x, prior):
    terms = with_seed(released_terms, module, x, None, prior)
    check(terms, slow_released_terms(module, x.numpy(), prior=prior.numpy()))


def test_released_terms_with_a_similarity_and_its_diagonal(module, x, s):
    terms = with_seed(released_terms, module, x, s, None)
    with_diagonal = np.maximum(s.numpy(), np.eye(N))
    check(terms, slow_released_terms(module, x.numpy(), s=with_diagonal))


def gradients(term, parameters):
    found = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return [gradient is not None and gradient.abs().sum() > 0 for gradient in found]


def test_where_the_released_program_learns_and_where_it_does_not(module, x, prior):
    terms = with_seed(released_terms, module, x, None, prior)
    total = sum(terms.values())
    assert gradients(total, list(module.encoder.log_variance.parameters())) == [False, False]
    assert gradients(terms["kl"], [module.centroids, module.encoder.mean.weight]) == [True, True]
    # the centroids are free: no other term moves them, and Eq 6 plays no part
    assert gradients(total - terms["kl"], [module.centroids]) == [False]
    assert module.means.weight.sum() == 0


def test_the_released_kl_is_the_reverse_of_equation_3():
    z = torch.tensor([[2.0], [-2.0]]).double()
    assignment, centroids = torch.tensor([0, 0]), torch.zeros(1, 1).double()
    reverse, printed = 0.5 * (4 - 1 - np.log(4)), 0.5 * (1 / 4 - 1 + np.log(4))
    assert losses.released_kl(z, assignment, centroids).item() == pytest.approx(reverse)
    assert losses.cluster_kl(z, assignment, centroids).item() == pytest.approx(printed, rel=1e-3)


def test_there_are_free_centroids_only_where_asked_for():
    parts = Encoder(3, [4], 2), Experts(2, [2, 3]), Gate(2, [], 2), 2, 2
    assert "centroids" not in Module(*parts).state_dict()
    assert Module(*parts, free_centroids=True).centroids.abs().sum() > 0


def test_one_expert_may_decode_all_clusters():
    torch.manual_seed(0)
    shared = Experts(1, [2, 4, 3])
    module = Module(Encoder(3, [4], 2), shared, Gate(2, [], 5), 5, 2)
    z, assignment = torch.randn(7, 2), torch.tensor([0, 4, 2, 2, 1, 0, 3])
    expected = shared(z, torch.zeros(7, dtype=torch.long))
    torch.testing.assert_close(module.decode(z, assignment), expected)
    terms = paper_terms(module, torch.rand(7, 3), torch.zeros(7, 7))
    assert all(torch.isfinite(term) for term in terms.values())
    assert module.means.weight.shape == (5,)


# ---------------------------------------------------------------------- finite differences


def difference(module, term, name, entry, step=1e-6):
    """Of a term when one entry of a parameter is moved up and down; nothing else changes."""
    values = []
    for sign in (1, -1):
        moved = copy.deepcopy(module)
        with torch.no_grad():
            dict(moved.named_parameters())[name].view(-1)[entry] += sign * step
        values.append(with_seed(term, moved).item())
    return (values[0] - values[1]) / (2 * step)


def agree(module, term, name):
    parameter = dict(module.named_parameters())[name]
    copied = copy.deepcopy(module)
    with_seed(term, copied).backward()
    gradient = dict(copied.named_parameters())[name].grad.view(-1)
    for entry in range(0, parameter.numel(), max(1, parameter.numel() // 7)):
        found = difference(module, term, name, entry)
        assert gradient[entry].item() == pytest.approx(found, rel=1e-4, abs=1e-8), (name, entry)


@pytest.mark.parametrize("use_prior", [True, False])
def test_gradients_of_the_released_terms(module, x, s, prior, use_prior):
    given = (None, prior) if use_prior else (s, None)
    for name, _ in module.named_parameters():
        if "log_variance" not in name:
            agree(module, lambda m: sum(released_terms(m, x, *given).values()), name)


def test_gradients_of_the_paper_terms_where_nothing_is_held_fixed(module, x, s):
    """DEPICT's target and Eq 6's means are: what moves them has another difference."""

    def term(*names):
        return lambda m: sum(paper_terms(m, x, s)[name] for name in names)

    for name, _ in module.named_parameters():
        if name.startswith(("encoder", "experts")):
            agree(module, term("reconstruction"), name)
        if name.startswith(("encoder.trunk", "encoder.mean", "gate")):
            agree(module, term("similarity"), name)
        if "log_variance" in name:  # the means are those of the codes' means
            agree(module, term("reconstruction", "kl"), name)


# ---------------------------------------------------------------------- the objectives


def test_all_weights_but_that_of_the_similarity_grow_over_the_warm_up():
    ones = {name: torch.ones(()) for name in ("reconstruction", "kl", "similarity", "depict")}
    weights = Weights(2.0, 3.0, 4.0, 5.0, warm_up=10)
    for step, grown in ((0, 0.0), (5, 0.5), (10, 1.0), (99, 1.0)):
        found = [term.item() for term in weights.weigh(ones, step).values()]
        assert found == [2 * grown, 3 * grown, 4, 5 * grown]
    assert [term.item() for term in Weights(2, 3, 4, 5).weigh(ones, 0).values()] == [2, 3, 4, 5]


def test_an_objective_gives_the_weighted_terms_of_the_cells_of_a_batch(module, x, s, prior):
    weights = Weights(2.0, 3.0, 4.0, 5.0)
    index = torch.tensor([7, 1, 4, 4, 0])
    part, similar = x[index], s[index][:, index]

    def rows(index):
        return x[index]

    def pairs(index):
        return s[index][:, index]

    objectives = {
        PaperObjective(module, rows, pairs, weights): (paper_terms, part, similar),
        ReleasedObjective(module, rows, pairs, None, weights): (
            released_terms,
            part,
            similar,
            None,
        ),
        ReleasedObjective(module, rows, None, prior, weights): (
            released_terms,
            part,
            None,
            prior[index],
        ),
    }
    for objective, (terms, *given) in objectives.items():
        expected = weights.weigh(with_seed(terms, module, *given), 0)
        found = with_seed(objective, index, 0)
        assert found.keys() == expected.keys()
        for name, term in found.items():
            # the means of Eq 6 follow every batch, which the KL alone notices
            if name != "kl" or isinstance(objective, ReleasedObjective):
                torch.testing.assert_close(term, expected[name])
