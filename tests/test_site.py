"""The docs as a site: built without a warning, and no link in it leads nowhere."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("path", "name"), [("config/README.md", "configuration"), ("workflow/Snakefile", "fetched")]
)
def test_what_is_written_from_elsewhere_is_what_stands_there(path, name, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    written = runpy.run_path(str(ROOT / "docs" / "reference.py"))[name]()
    assert (ROOT / path).read_text("utf-8") == written, f"{path} is stale; run `make format`"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    if shutil.which("sphinx-build", path=Path(sys.executable).parent) is None:
        pytest.skip("needs Sphinx: pip install -e '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going"]
    done = subprocess.run(
        [*command, "-d", str(out / "doctrees"), str(ROOT / "docs"), str(out / "html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out / "html"


@pytest.mark.slow
def test_every_link_within_the_site_leads_somewhere(site):
    pages = {path: path.read_text("utf-8") for path in site.rglob("*.html")}
    assert {"index.html", "api.html", "model.html", "search.html"} <= {p.name for p in pages}
    anchors = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    dead = []
    for path, text in pages.items():
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            target, _, anchor = link.partition("#")
            if re.match(r"\w+:|//", link):
                continue
            place = (path.parent / target.partition("?")[0]).resolve() if target else path
            if not place.exists() or (anchor and anchor not in anchors.get(place, {anchor})):
                dead.append(f"{path.name}: {link}")
    assert dead == []


@pytest.mark.slow
def test_the_reference_tells_shapes_and_errors(site):
    text = (site / "api.html").read_text("utf-8")
    for name in ("moesimvae.MoESimVAE.fit", "moesimvae.cluster", "read_cells", "f_flowcap"):
        assert name in text
    assert "(n_cells," in text
    assert "Raises UserError" in text
