"""Sphinx, for `make docs-site`: the pages of this folder and of its neighbours as one site."""

import inspect
import os
import re
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT / "src"), str(DOCS)]

import reference  # noqa: E402

import moesimvae  # noqa: E402

project = "moesimvae"
author = "The moesimvae developers"
project_copyright = author
release = version = moesimvae.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx.ext.mathjax"]
root_doc = "index"
include_patterns = ["*.md", "reference/*.md", "tutorials/*.ipynb"]  # tables stay in the repository
html_theme = "furo"  # light or dark, following the reader's system
html_title = f"moesimvae {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
urls = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
repository = urls["Homepage"]
html_theme_options = {
    "source_repository": repository,
    "source_branch": "main",
    "source_directory": "docs/",
}
myst_enable_extensions = ["attrs_inline", "dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"  # outputs are stored; tests/test_tutorials.py executes the notebooks
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings give shapes and units, signatures keep the types
python_maximum_signature_line_length = 88
copybutton_exclude = ".linenos, .gp, .go"

reference.write_pages(DOCS / "reference")


# pages of the site whose text is a file elsewhere in the repository
TEXTS = {
    "reference/architecture": "ARCHITECTURE.md",
    "reference/changelog": "CHANGELOG.md",
    "reference/configuration": "config/README.md",
    "reference/contributing": "CONTRIBUTING.md",
    "reference/results": "results/README.md",
}
PAGES = {ROOT / name: page for page, name in TEXTS.items()} | {ROOT / "README.md": "index"}
for page, name in TEXTS.items():
    reference.write_page(DOCS / f"{page}.md", (ROOT / name).read_text("utf-8"))


def links(app, docname, source):
    """Links as seen from the page: to other pages, or else to the repository."""
    origin = ROOT / TEXTS.get(docname, f"docs/{docname}.md")
    place = (DOCS / docname).parent

    def mended(match):
        start, target, rest = match[1], match[2], match[3] or ""
        path = (origin.parent / target).resolve()
        if not target or re.match(r"\w+:", target):
            return match[0]
        if path in PAGES and not (rest and path.name == "README.md"):
            path = DOCS / f"{PAGES[path]}.md"
        elif path.parent == DOCS / "reference":
            pass  # written just now
        elif not path.exists():
            raise ValueError(f"{origin}: there is no {target}")
        elif path.is_dir() or not (
            path.suffix in (".png", ".svg") or path.parent in (DOCS, DOCS / "tutorials")
        ):
            kind = "tree" if path.is_dir() else "blob"
            return f"{start}({repository}/{kind}/main/{path.relative_to(ROOT)}{rest})"
        return f"{start}({os.path.relpath(path, place)}{rest})"

    text = source[0]
    if docname == "reference/architecture":  # the arrows between floors, drawn
        text = re.sub(r"```mermaid\n.*?```", "![Floors](docs/architecture.svg)", text, flags=re.S)
    if (DOCS / f"{docname}.md").exists():
        source[0] = re.sub(r"(\[[^\]]*\])\(([^)#\s]*)(#[^)\s]*)?\)", mended, text)


NAMED = re.compile(r"([\w*]+(?:, [\w*]+)*): ")


def as_rst(app, what, name, obj, options, lines):
    """Docstrings are plain text: `code` in backticks, and `name: what it is` a line each."""
    text = inspect.cleandoc("\n".join(lines))
    out = []
    for block in re.split(r"\n\s*\n", text):
        rows = block.splitlines()
        if len(rows) > 1 and re.fullmatch(r"-{4,}", rows[1].strip()):
            out += [f"**{rows[0].strip().replace('`', '')}**", ""]
            rows = rows[2:]
        items: list[str] = []
        for row in rows:
            if NAMED.match(row) or row.startswith(("Raises ", "Returns ")) or not items:
                items.append(row.strip())
            else:
                items[-1] += f" {row.strip()}"
        for item in items:
            named = NAMED.match(item)
            if named and named[1] not in ("Raises", "Returns"):
                item = f"- **{escaped(named[1])}**: {escaped(item[named.end() :])}"  # noqa: PLW2901
            else:
                item = escaped(item)  # noqa: PLW2901
            out += [item, ""]
    lines[:] = out


def escaped(text):
    """Text in which only `code` is markup."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        f"`{part}`" if part.startswith("`") else re.sub(r"([*|\\]|_(?=\W|$))", r"\\\1", part)
        for part in parts
    )


def setup(app):
    app.connect("source-read", links)
    app.connect("autodoc-process-docstring", as_rst)
    # scikit-learn's own, for its metadata routing
    app.connect(
        "autodoc-skip-member",
        lambda app, what, name, *more: bool(re.fullmatch(r"set_\w+_request", name)) or None,
    )
