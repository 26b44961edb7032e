"""Images that are turned, shifted, stretched and sheared a little, or all brought to one pose."""

import math

import pytest
import torch

from moesimvae.model import images
from moesimvae.model.images import deskew, random_affine


def noise(n=6, rows=20, columns=20):
    return torch.rand(n, rows * columns, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def extreme(monkeypatch):
    """Every amplitude 0 but those named, and every draw at its upper end."""
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.ones(shape))

    def only(**amplitudes):
        for name in ("ROTATION", "SHIFT", "STRETCH", "SHEAR"):
            monkeypatch.setattr(images, name, amplitudes.get(name, 0.0))

    return only


def test_without_strength_nothing_changes():
    x = noise()
    assert random_affine(x, (20, 20), 0) is x


def test_nothing_to_do_gives_the_image_back(extreme):
    extreme()
    torch.testing.assert_close(random_affine(noise(), (20, 20)), noise(), rtol=0, atol=1e-5)


def test_a_shift_is_a_share_of_the_image_and_lets_in_zeros(extreme):
    extreme(SHIFT=0.1)
    expected = torch.zeros(6, 20, 30)
    expected[:, :-2, :-3] = noise(6, 20, 30).view(6, 20, 30)[:, 2:, 3:]
    moved = random_affine(noise(6, 20, 30), (20, 30)).view(6, 20, 30)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-4)


def test_a_turn_is_an_angle(extreme):
    extreme(ROTATION=math.pi / 2)
    turned = random_affine(noise(), (20, 20)).view(6, 20, 20)
    whole = noise().view(6, 20, 20)
    ways = [torch.rot90(whole, k, (1, 2)) for k in (1, -1)]
    assert any(torch.allclose(turned, way, atol=1e-4) for way in ways)


def test_a_stretch_of_both_sides_shows_the_middle_smaller(extreme):
    extreme(STRETCH=1.0)  # twice the field of view
    bright = random_affine(torch.ones(1, 400), (20, 20)).view(20, 20)
    torch.testing.assert_close(bright[5:15, 5:15], torch.ones(10, 10), rtol=0, atol=1e-4)
    assert bright[:4].sum() == bright[:, -4:].sum() == 0


def test_strength_is_a_factor(extreme):
    extreme(SHIFT=0.1)
    twice = random_affine(noise(), (20, 20), 2.0)
    extreme(SHIFT=0.2)
    torch.testing.assert_close(twice, random_affine(noise(), (20, 20)))


def test_each_image_moves_in_its_own_way_and_by_little():
    torch.manual_seed(3)
    same = torch.zeros(64, 20, 20)
    same[:, 9:11, 9:11] = 1
    moved = random_affine(same.view(64, 400), (20, 20)).view(64, 20, 20)
    assert len(moved.unique(dim=0)) == 64
    assert ((moved >= 0) & (moved <= 1)).all()
    at = torch.arange(20.0)
    middle = (moved.sum(1) * at).sum(1) / moved.sum((1, 2))
    assert (middle - 9.5).abs().max() < 20 * images.SHIFT + 1
    assert (middle - 9.5).std() > 0.5


def test_torch_s_generator_decides():
    torch.manual_seed(1)
    first, other = random_affine(noise(), (20, 20)), random_affine(noise(), (20, 20))
    torch.manual_seed(1)
    assert torch.equal(random_affine(noise(), (20, 20)), first)
    assert not torch.equal(other, first)


# ---------------------------------------------------------------------- one pose


def bar(slant=0.0, right=0, down=0):
    """A vertical bar, 3 wide and 13 high, in an image of 28 × 24; slant in columns per row."""
    image = torch.zeros(28, 24)
    for row in range(13):
        column = 10.5 + slant * (row - 6) + right
        left = int(column // 1)
        part = column - left
        image[7 + row + down, left] += 1 - part
        image[7 + row + down, left + 1 : left + 3] = 1
        image[7 + row + down, left + 3] += part
    return image.view(1, -1)


def pose(image):
    """Centre of mass, in rows and columns, and the slant."""
    mass = image.view(28, 24) / image.sum()
    rows, columns = torch.arange(28.0)[:, None], torch.arange(24.0)[None]
    down, right = (mass * rows).sum(), (mass * columns).sum()
    slant = (mass * (rows - down) * (columns - right)).sum() / (mass * (rows - down) ** 2).sum()
    return down.item(), right.item(), slant.item()


@pytest.mark.parametrize(("slant", "right", "down"), [(0.5, 0, 0), (-0.4, 2, -3), (0, -5, 4)])
def test_deskewed_images_are_upright_and_in_the_middle(slant, right, down):
    assert pose(bar(slant, right, down))[2] == pytest.approx(slant, abs=0.02)
    upright = deskew(bar(slant, right, down), (28, 24))
    assert pose(upright) == pytest.approx((13.5, 11.5, 0), abs=0.1)
    assert ((upright >= 0) & (upright <= 1)).all()
    assert upright.sum() == pytest.approx(bar(slant, right, down).sum().item(), rel=0.02)


def test_an_image_in_the_pose_stays_as_it_is():
    upright = deskew(bar(), (28, 24))
    torch.testing.assert_close(deskew(upright, (28, 24)), upright, rtol=0, atol=0.02)


def test_empty_images_and_single_pixels_have_no_slant():
    x = torch.zeros(3, 28 * 24)
    x[1, 100] = 1
    x[2, 24 * 5 : 24 * 6] = 1  # one row
    upright = deskew(x, (28, 24))
    assert torch.isfinite(upright).all()
    assert (upright[0] == 0).all()


def test_each_image_is_deskewed_by_itself():
    together = deskew(torch.cat([bar(0.5), bar(-0.4, 2)]), (28, 24))
    torch.testing.assert_close(together[1:], deskew(bar(-0.4, 2), (28, 24)))
