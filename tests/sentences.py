"""Bad input is told in one sentence."""

import pytest

from moesimvae.errors import UserError


def error(what, *arguments, **more) -> str:
    """What `what` says of these arguments, which must be one sentence that ends."""
    with pytest.raises(UserError) as caught:
        what(*arguments, **more)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith((".", "?"))
    assert len(sentence) < 1000
    return sentence
