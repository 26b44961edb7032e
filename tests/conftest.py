"""What every test may use: where the checkout is, and the real data beside it, if any."""

from pathlib import Path

import pytest

from checkout import Checkout

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """A folder with real data beside the checkout; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the shared data folder ../shared/data, which is not here")
    return folder


@pytest.fixture
def checkout(root, tmp_path) -> Checkout:
    """A copy of the project that the test may change and run."""
    return Checkout(root, tmp_path / "checkout")
