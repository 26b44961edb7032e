import numpy as np
import pytest
import torch

from moesimvae.errors import UserError
from moesimvae.model.training import batches, choose_device, encode_in_batches, seeded, train


def fit_line(steps=200, **settings):
    generator = seeded(0)
    weight = torch.nn.Parameter(torch.zeros(1))
    x = torch.linspace(-1, 1, 33)
    history = train(
        lambda index, step: {"error": ((weight * x[index] - 3 * x[index]) ** 2).mean()},
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


def test_the_same_seed_gives_the_same_course():
    assert fit_line() == fit_line()


def test_an_epoch_shows_each_cell_once_and_batches_are_full():
    stream = batches(9, 4, seeded(0), torch.device("cpu"))
    for _ in range(5):
        epoch = torch.cat([next(stream), next(stream)])
        assert len(epoch.unique()) == 8
    assert len(next(batches(3, 4, seeded(0), torch.device("cpu")))) == 3


def test_the_shuffle_heeds_its_generator_alone():
    first, second = (
        next(batches(50, 8, torch.Generator().manual_seed(5), torch.device("cpu")))
        for _ in range(2)
    )
    assert torch.equal(first, second)


def test_a_loss_that_is_not_finite_is_told(capsys):
    with pytest.raises(UserError, match="'error' stopped being a finite number"):
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


def test_unknown_device_and_schedule_are_told():
    with pytest.raises(UserError, match="device 'abacus' cannot be used"):
        choose_device("abacus")
    with pytest.raises(UserError, match="schedule 'steep'"):
        fit_line(schedule="steep")


@pytest.mark.parametrize("n_cells", [0, 1, 7, 10])
def test_encoding_in_batches_keeps_the_order(n_cells):
    encoded = encode_in_batches(lambda index: index[:, None] * 2.0, n_cells, batch_size=5)
    np.testing.assert_array_equal(encoded, 2.0 * np.arange(n_cells)[:, None])
