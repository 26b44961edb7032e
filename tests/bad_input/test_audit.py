"""What the project promises of its own code and registry, looked up in them."""

import re

import pytest
import yaml

from moesimvae.data.download import _leaves_https

# what would run code that stands in a file or in a name
DANGEROUS = re.compile(
    r"^\s*shell:|shell=True|os\.system|os\.popen|pickle\.load|joblib\.load|torch\.load\(|"
    r"allow_pickle=True|yaml\.(load|unsafe_load|full_load)\(|(?<![.\w])(eval|exec)\(|\|\s*safe\b",
    re.MULTILINE,
)
# JSON and libraries inside <script>, in which nothing ends the <script> (report/widgets.py)
KNOWN = {"src/moesimvae/report/templates/widgets.html.j2"}
# servers that have no https; another source with https stands before each
ONLY_HTTP = {"imlspenticton.uzh.ch"}


def test_nothing_runs_what_stands_in_a_file_or_a_name(root):
    for folder in ("src", "scripts", "workflow"):
        for path in (root / folder).rglob("*"):
            name = path.relative_to(root).as_posix()
            if path.suffix not in (".py", ".smk", ".j2") or name in KNOWN:
                continue
            found = DANGEROUS.search(path.read_text(encoding="utf-8"))
            assert not found, f"{name}: {found[0].strip()}"


def test_the_audit_sees_what_it_looks_for():
    for text in ("    shell:\n", "pickle.load(f)", "x = eval(y)", "yaml.load(f)", "{{ x|safe }}"):
        assert DANGEROUS.search(text), text
    for text in ("model.eval()", "yaml.safe_load(f)", "shell_of(x)"):
        assert not DANGEROUS.search(text), text


def sources(block):
    if isinstance(block, dict):
        for key, value in block.items():
            yield from [value] if key == "sources" else sources(value)


def test_sources_have_https_and_http_comes_second_where_a_server_has_no_other(root):
    registry = yaml.safe_load((root / "workflow/registry/datasets.yaml").read_text())
    found = [addresses for block in registry.values() for addresses in sources(block)]
    assert len(found) > 10
    for addresses in found:
        for place, address in enumerate(addresses):
            if not address.startswith("https://"):
                assert address.split("/")[2] in ONLY_HTTP
                assert place > 0, f"{address} stands first"
                assert addresses[0].startswith("https://")


@pytest.mark.parametrize(
    ("addresses", "leaves"),
    [
        (["https://a/x"], False),
        (["https://a/x", "https://b/x"], False),
        (["http://a/x", "https://b/x"], False),
        (["https://a/x", "http://b/x"], True),
        (["https://a/x", "HTTP://b/x", "https://c/x"], True),
    ],
)
def test_a_server_must_not_lead_from_https_to_http(addresses, leaves):
    assert _leaves_https(addresses) is leaves
