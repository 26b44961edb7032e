"""Every case of the corpus ends in its one sentence, and nothing hidden in a file is run."""

import pytest
from corpus import CASES, PWNED

from sentences import error


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_sentence(name, tmp_path, monkeypatch):
    made, expected = CASES[name]
    (tmp_path / "here").mkdir()
    (tmp_path / "given").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert expected in error(made, tmp_path / "given")
    assert not list(tmp_path.rglob(PWNED)), "code hidden in the file was run"
    assert not list((tmp_path / "here").iterdir()), "something was written"


def test_the_docs_tell_how_many_there_are(root):
    said = f"holds {len(CASES)} kinds of it"
    assert said in (root / "docs/security.md").read_text(encoding="utf-8")
