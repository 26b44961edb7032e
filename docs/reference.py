"""Write what the docs say of keys, metrics, methods, data sets and options, from their sources.

`make format` writes config/README.md, `make docs-site` (`conf.py`) the pages in docs/reference/.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from moesimvae import cli, files, registry  # noqa: E402
from moesimvae.nouns import schemas  # noqa: E402

REGISTRY = ROOT / "workflow" / "registry"
CONFIG = """\
# Configuration

Written by `docs/reference.py` (`make format`) from the keys' own definitions; do not edit it.

The workflow is configured by [config.yaml](../config.yaml), every key of which can be given on the
command line as well: `--config mirror=FOLDER`. A key that is left out has its default. A wrong
configuration ends in one sentence before any job starts; editors check the file against
`workflow/schemas/config.schema.json`.

The smallest that says something runs your own cells, with `snakemake own`:

```yaml
data: cells.h5ad
label: cell_type
```

An experiment is data sets × methods × seeds, by names of `workflow/registry/`; `snakemake NAME`
makes its tables, figures and page in `results/NAME/`:

```yaml
experiments:
  mine:
    title: Two methods on two simulated data sets
    datasets: [simulated_gaussians, simulated_cytof]
    methods: [kmeans, leiden]
    seeds: [0, 1]
```

## Keys

"""


def configuration() -> str:
    """config/README.md."""
    schema = schemas()["config"]
    groups = {
        "": {k: v for k, v in schema["properties"].items() if not _group(v)},
        **{k: _group(v) for k, v in schema["properties"].items() if _group(v)},
    }
    parts = []
    for name, keys in groups.items():
        if name:
            told = schema["properties"][name].get("description", "").replace("<", "\\<")
            parts.append(f"\n### `{name}`\n\n{told}\n\n".replace("\n\n\n\n", "\n\n"))
        parts.append("| key | type | default | what it does |\n|---|---|---|---|\n")
        parts += [_row(key, block) for key, block in keys.items()]
    return CONFIG + "".join(parts)


def fetched() -> str:
    """workflow/Snakefile: Snakemake cannot fetch what a Snakefile in a root folder refers to."""
    text = (ROOT / "Snakefile").read_text("utf-8")
    text = text.replace('"workflow/', '"').replace('"config.yaml"', '"../config.yaml"')
    return "# ../Snakefile for those who fetch it; written by docs/reference.py\n" + text


def _group(block: dict[str, Any]) -> dict[str, Any]:
    """The keys below a key: its own, or those of each block that it names."""
    if "properties" in block:
        return block["properties"]
    below = block.get("additionalProperties")
    return below.get("properties", {}) if isinstance(below, dict) else {}


def _row(key: str, block: dict[str, Any]) -> str:
    default = f"`{_yaml(block['default'])}`" if "default" in block else "must be given"
    told = " ".join(block.get("description", "").split()).replace("<", "\\<")
    return f"| `{key}` | {_type(block)} | {default} | {told} |\n"


def _yaml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_yaml(v)}" for k, v in value.items()) + "}"
    return value if isinstance(value, str) and value else json.dumps(value)


def _type(block: dict[str, Any]) -> str:
    if "enum" in block:
        return ", ".join(map(str, block["enum"]))
    if "oneOf" in block:
        return " or ".join(dict.fromkeys(_type(part) for part in block["oneOf"]))
    kinds = block.get("type", "any")
    names = {
        "array": f"list of {_type(block['items'])}" if "items" in block else "list",
        "object": "mapping",
        "string": "text",
        "integer": "whole number",
        "null": "null",
        "boolean": "true or false",
    }
    return " or ".join(names.get(k, k) for k in ([kinds] if isinstance(kinds, str) else kinds))


def _metric(block: dict[str, Any]) -> str:
    low, high = block["range"]
    corrected = "" if block["chance_corrected"] else "not "
    told = f"better: {block['better']}; {corrected}corrected for chance"
    return f", from {low} to {high}; {told}.\n\n{block['definition']}"


def _method(block: dict[str, Any]) -> str:
    params = ", ".join(f"{k} {_yaml(v)}" for k, v in block["params"].items()) or "none"
    genes = " of all genes" if block["all_genes"] else ""
    kind = "stochastic" if block["stochastic"] else "deterministic"
    place = f"module `{block['module']}`, environment `{block['environment']}`"
    return f": {place}, takes {block['input']} values{genes}; {kind}. Parameters: {params}."


def _dataset(block: dict[str, Any]) -> str:
    kind = ", ".join(word for word in ("simulated", "partial") if block.get(word)) or "real"
    return f" ({kind}). {block.get('note', '')}\n\nLicence: {block['licence']}."


LISTED = {
    "metrics": ("Metrics", "How each number is defined, from {}.", _metric),
    "methods": ("Methods", "What can be named in `config.yaml`, from {}.", _method),
    "datasets": ("Data sets", "From {}; none lies in the repository.", _dataset),
}


def pages() -> Iterator[tuple[str, str]]:
    """(name, text) of every page in docs/reference/."""
    for kind, (title, told, text) in LISTED.items():
        parts = [f"# {title}\n\n{told.format(f'`workflow/registry/{kind}.yaml`')}\n"]
        for name, block in registry.load(REGISTRY / f"{kind}.yaml").items():
            source = block["citation" if kind == "datasets" else "reference"]
            parts.append(
                f"\n({kind[:-1]}-{name})=\n## {block['title']}\n\n`{name}`{text(block)}\n\n"
                f"*{source}*\n"
            )
        yield kind, "".join(parts)

    os.environ["COLUMNS"] = "90"  # argparse reads it
    parts = ["# Command line\n\nWhat `moesimvae COMMAND --help` prints.\n"]
    for name, parser in _commands():
        parts.append(f"\n## {name}\n\n```text\n{parser.format_help()}```\n")
    yield "command_line", "".join(parts)


def _commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in cli._parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def write_pages(folder: Path) -> None:
    for name, text in pages():
        write_page(folder / f"{name}.md", text)


def write_page(path: Path, text: str) -> None:
    """Only if something changed, or Sphinx would read it again."""
    if not path.exists() or path.read_text("utf-8") != text:
        files.write_text(path, text)


if __name__ == "__main__":
    files.write_text(ROOT / "config" / "README.md", configuration())
    files.write_text(ROOT / "workflow" / "Snakefile", fetched())
