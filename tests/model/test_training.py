import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch

from moesimvae.errors import UserError
from moesimvae.model import training
from moesimvae.model.training import (
    Accumulated,
    Batches,
    Training,
    adam,
    choose_device,
    encode_in_batches,
    seeded,
    train,
)

CPU = torch.device("cpu")


def line(x):
    """The terms of a straight line's fit, and its slope to be found, 3."""
    weight = torch.nn.Parameter(torch.zeros(1))
    return weight, lambda index, step: {"error": ((weight * x[index] - 3 * x[index]) ** 2).mean()}


def fit_line(steps=200, **settings):
    generator = seeded(0)
    x = torch.linspace(-1, 1, 33)
    weight, terms = line(x)
    history = train(
        terms,
        [weight],
        len(x),
        steps,
        **{"batch_size": 8, "learning_rate": 0.1, "generator": generator, "progress": ""}
        | settings,
    )
    return weight.item(), history


def test_it_finds_the_minimum_and_records_every_term():
    weight, history = fit_line(steps=210, record_every=50)
    assert weight == pytest.approx(3, abs=0.01)
    assert history["step"] == [50, 100, 150, 200, 210]
    assert history["total"] == history["error"]
    assert history["error"][0] > 100 * history["error"][-1]


def test_a_record_is_the_mean_since_the_last_one():
    weight = torch.nn.Parameter(torch.zeros(1))
    history = train(
        lambda index, step: {"step number": 0 * weight.sum() + step, "two": 0 * weight.sum() + 2},
        [weight],
        8,
        7,
        batch_size=2,
        learning_rate=0.1,
        generator=seeded(0),
        progress="",
        record_every=3,
    )
    assert history["step number"] == [1, 4, 6]
    assert history["total"] == [3, 6, 8]


def test_the_same_seed_gives_the_same_course():
    assert fit_line() == fit_line()


def test_all_random_numbers_follow_the_seed():
    drawn = []
    for _ in range(2):
        generator = seeded(2**40 + 1)
        drawn.append([np.random.rand(), torch.rand(1), torch.rand(1, generator=generator)])  # noqa: NPY002
    assert drawn[0] == drawn[1]


# ---------------------------------------------------------------------- batches


def test_an_epoch_shows_each_cell_once_and_batches_are_full():
    stream = Batches(9, 4, seeded(0), CPU)
    for _ in range(5):
        epoch = torch.cat([next(stream), next(stream)])
        assert len(epoch.unique()) == 8
    assert len(next(Batches(3, 4, seeded(0), CPU))) == 3


def test_no_cell_is_left_out_for_ever():
    stream = Batches(9, 8, seeded(0), CPU)
    seen = torch.cat([next(stream) for _ in range(10)])
    assert len(seen.unique()) == 9


def test_the_shuffle_heeds_its_generator_alone():
    first, second = (next(Batches(50, 8, torch.Generator().manual_seed(5), CPU)) for _ in range(2))
    assert torch.equal(first, second)


def test_cells_are_drawn_as_often_as_asked():
    sampling = np.array([0.1, 0.0, 0.2, 0.7, 0.0])
    stream = Batches(5, 5, seeded(0), CPU, sampling)
    drawn = torch.cat([next(stream) for _ in range(4000)])
    share = np.bincount(drawn, minlength=5) / len(drawn)
    np.testing.assert_allclose(share, sampling, atol=0.015)
    assert share[1] == share[4] == 0


def test_batches_go_on_where_others_stood():
    for sampling in (None, np.full(30, 1 / 30)):
        stream = Batches(30, 8, seeded(0), CPU, sampling)
        for _ in range(5):
            next(stream)
        state, position = stream.epoch_began_at, stream.position
        expected = torch.stack([next(stream) for _ in range(7)])
        other = Batches(30, 8, torch.Generator().manual_seed(99), CPU, sampling)
        other.go_to(state, position)
        assert torch.equal(torch.stack([next(other) for _ in range(7)]), expected)


# ---------------------------------------------------------------------- Adam


def slow_adam(steps, rate, betas, gradient):
    """Kingma and Ba 2015, one number."""
    weight = m = v = 0.0
    for t in range(1, steps + 1):
        g = gradient(weight)
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        change = (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)) ** 0.5 + 1e-8)
        weight -= rate(t - 1) * change
    return weight


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.5, 0.99)])
@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_steps_are_adam_s(schedule, betas):
    weight = torch.nn.Parameter(torch.zeros(1))
    training = Training(
        [weight],
        4,
        20,
        batch_size=2,
        learning_rate=0.2,
        generator=seeded(0),
        schedule=schedule,
        optimiser=partial(adam, betas=betas),
    )
    training.run(lambda index, step: {"error": (weight - 3).square().sum()}, "")

    def rate(step):
        return 0.2 * (0.5 * (1 + np.cos(np.pi * step / 20)) if schedule == "cosine" else 1)

    expected = slow_adam(20, rate, betas, lambda w: 2 * (w - 3))
    assert weight.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("schedule", ["cosine", "constant", "settled"])
@pytest.mark.parametrize(
    ("max_seconds", "steps", "ended"),
    [(None, 400, "all steps taken"), (1000, 400, "all steps taken"), (21, 200, "out of time")],
)
def test_a_training_ends_in_time_whatever_its_schedule(
    schedule, max_seconds, steps, ended, monkeypatch
):
    """On a machine that takes a second for ten steps."""
    x = torch.linspace(-1, 1, 33)
    weight, terms = line(x)
    clock = {"now": 100.0}

    def slow_terms(index, step):
        clock["now"] += 0.1
        return terms(index, step)

    monkeypatch.setattr(training, "monotonic", lambda: clock["now"])
    one = Training(
        [weight], 33, 400, batch_size=8, learning_rate=0.1, generator=seeded(0),
        schedule=schedule, settled=lambda _: False, max_seconds=max_seconds, record_every=10,
    )  # fmt: skip
    history = one.run(slow_terms, "")
    assert history["step"][-1] == pytest.approx(steps, abs=20)
    assert one.ended == ended
    rate = one.optimiser.param_groups[0]["lr"]
    assert rate == 0.1 if schedule == "constant" else rate < 0.001


def test_some_parameters_may_learn_at_another_rate():
    weight, other = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    training = Training(
        [weight],
        4,
        1,
        batch_size=2,
        learning_rate=0.2,
        generator=seeded(0),
        accumulated=[Accumulated([other], 1, 0.25)],
    )
    training.run(lambda index, step: {"error": (weight + other - 3).square().sum()}, "")
    # the first step of Adam is the rate, whatever the gradient
    assert (weight.item(), other.item()) == (pytest.approx(0.2), pytest.approx(0.05))


def test_some_may_change_once_in_several_batches_by_the_sum_of_their_gradients():
    weight, other = (torch.nn.Parameter(torch.zeros(1)) for _ in range(2))
    seen = []

    def terms(index, step):
        seen.append((weight.item(), other.item()))
        return {"error": (weight + other) * (step + 1)}

    settings = {"batch_size": 2, "learning_rate": 0.1, "generator": seeded(0)}
    training = Training(
        [weight],
        4,
        7,
        **settings,
        schedule="constant",
        optimiser=torch.optim.SGD,
        accumulated=[Accumulated([other], 3, 2.0)],
    )
    training.run(lambda index, step: {name: e.sum() for name, e in terms(index, step).items()}, "")
    # gradients are 1, 2, 3, …, and the last group of batches is not complete
    np.testing.assert_allclose([w for w, _ in seen], [0, -0.1, -0.3, -0.6, -1, -1.5, -2.1], 1e-5)
    np.testing.assert_allclose([o for _, o in seen], [0, 0, 0, -1.2, -1.2, -1.2, -4.2], 1e-5)
    assert other.item() == seen[-1][1]


OPTIMISERS = {
    "Adam": adam,
    "AdamW": torch.optim.AdamW,
    "SGD": torch.optim.SGD,
    "SGD with momentum": partial(torch.optim.SGD, momentum=0.9),
    "RMSprop": torch.optim.RMSprop,
    "NAdam": torch.optim.NAdam,
}


class Stopped(Exception):
    pass


@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS)
def test_a_training_goes_on_where_another_was_stopped(optimiser):
    x = torch.linspace(-1, 1, 33)

    def new(weight, seed=0):
        settings = {"batch_size": 8, "learning_rate": 0.02, "record_every": 10}
        settings |= {"optimiser": optimiser}
        return Training([weight], len(x), 90, generator=seeded(seed), **settings)

    weight, terms = line(x)
    expected = new(weight).run(terms, "")

    def stop():
        if training.step == 40:
            raise Stopped

    half, terms = line(x)
    training = new(half)
    with pytest.raises(Stopped):
        training.run(terms, "", stop)
    tensors, values = training.state()
    later, terms = line(x)
    with torch.no_grad():
        later.copy_(half)
    again = new(later, seed=5)
    again.resume(tensors, values)
    assert again.run(terms, "") == expected
    assert torch.equal(later, weight)


def test_moments_are_taken_over_wherever_the_weights_lie_in_memory():
    """Weights of convolutions are stored as rows, but lie in another order (channels last)."""
    target = torch.randn(4, 3, 3, 3, generator=seeded(0))
    plain = torch.zeros(2)

    def new(start):
        weight = torch.nn.Parameter(start.clone(memory_format=torch.channels_last))
        other = torch.nn.Parameter(plain.clone())
        settings = {"batch_size": 2, "learning_rate": 0.1, "generator": seeded(0)}
        training = Training(
            [other], 4, 20, **settings, accumulated=[Accumulated([weight], 1, 0.5)], record_every=10
        )
        error = lambda: (weight - target).square().sum() + other.square().sum()  # noqa: E731
        return weight, training, lambda index, step: {"error": error()}

    def stop():
        raise Stopped

    expected, whole, terms = new(torch.zeros_like(target))
    whole.run(terms, "")
    half, training, terms = new(torch.zeros_like(target))
    with pytest.raises(Stopped):
        training.run(terms, "", stop)
    tensors, values = training.state()
    later, again, terms = new(half.detach())
    again.resume({name: tensor.contiguous() for name, tensor in tensors.items()}, values)
    again.run(terms, "")
    assert torch.equal(later, expected)


def test_nothing_is_saved_at_the_end_where_nothing_is_left_to_do():
    weight, terms = line(torch.linspace(-1, 1, 33))
    steps = []
    training = Training(
        [weight], 33, 30, batch_size=8, learning_rate=0.1, generator=seeded(0), record_every=10
    )
    training.run(terms, "", lambda: steps.append(training.step))
    assert steps == [10, 20]


# ---------------------------------------------------------------------- what is told


def test_a_loss_that_is_not_finite_is_told():
    with pytest.raises(UserError, match="'error' became NaN or infinite"):
        train(
            lambda index, step: {"error": parameter.sum() * torch.inf},
            [parameter := torch.nn.Parameter(torch.ones(1))],
            4,
            10,
            batch_size=2,
            learning_rate=0.1,
            generator=seeded(0),
        )


def test_a_log_file_gets_a_line_now_and_then(capsys):
    fit_line(steps=400, record_every=1, progress="line")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("line 400/400: error ")


def test_silence_is_silent(capsys):
    fit_line(steps=40, record_every=1)
    assert capsys.readouterr() == ("", "")


def test_unknown_device_and_schedule_are_told():
    with pytest.raises(UserError, match="device 'abacus' cannot be used"):
        choose_device("abacus")
    with pytest.raises(UserError, match="schedule 'steep'"):
        fit_line(schedule="steep")


@pytest.mark.parametrize("n_cells", [0, 1, 7, 10, 11])
def test_encoding_in_batches_keeps_the_order(n_cells):
    encoded = encode_in_batches(lambda index: index[:, None] * 2.0, n_cells, batch_size=5)
    np.testing.assert_array_equal(encoded, 2.0 * np.arange(n_cells)[:, None])


def test_the_best_weights_so_far_come_back_with_adams_moments():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    seen, targets = [], [5.0, 0.5, 4.0, 3.0, 6.0, 7.0]

    def terms(index, step):
        seen.append(weight.item())
        return {"loss": targets[step] + 0 * weight.sum() + (weight - weight.detach()).sum()}

    training = Training(
        [weight],
        n_cells=4,
        steps=6,
        batch_size=2,
        learning_rate=0.1,
        generator=torch.Generator().manual_seed(0),
        schedule="constant",
        best_every=3,
    )
    training.run(terms, "")
    assert seen[3] == seen[1]  # back after three steps to the weights of the smallest loss
    assert weight.item() == seen[1]  # and at the end
    assert training.optimiser.state[weight]["step"].item() == 1


def test_without_it_the_last_weights_stay():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    settings = {"batch_size": 2, "learning_rate": 0.1, "generator": torch.Generator()}
    Training([weight], 4, 6, **settings).run(lambda index, step: {"loss": weight.sum()}, "")
    assert weight.item() < 0.8


def test_a_fit_does_not_load_torch_s_compiler():
    code = (
        "import sys, torch; from moesimvae.model.training import adam;"
        "w = torch.nn.Parameter(torch.ones(2)); o = adam([{'params': [w]}], 0.1);"
        "w.sum().backward(); o.step(); o.zero_grad(); o.load_state_dict(o.state_dict());"
        "assert w.max() < 1; sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
