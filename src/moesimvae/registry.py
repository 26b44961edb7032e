"""A registry block as plain data: what exists, one block each, as the YAML files say.

The workflow says where the files are; nothing here knows a path.
"""

from pathlib import Path
from typing import Any

from moesimvae.errors import UserError

Block = dict[str, Any]

# Layers of values transformed but not scaled, of cytometry and of sequencing; a data set has one
# of them at most.
TRANSFORMED = ("arcsinh", "lognorm")
# how the settings of a screened method are chosen: by which metric (see evaluation/selection.py)
CRITERIA = {"oracle": "f_flowcap", "label-free": "silhouette"}


def load(path: str | Path) -> dict[str, Block]:
    """Read one registry file: a mapping from name to block.

    Raises UserError when the file is not such a mapping.
    """
    import yaml  # a method's own environment need not have it

    try:
        blocks = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML ({error}); mend that line.") from error
    if not isinstance(blocks, dict) or not all(isinstance(b, dict) for b in blocks.values()):
        raise UserError(f"{path} must map names to blocks of settings, one block each.")
    return blocks


def block(blocks: dict[str, Block], name: str, kind: str) -> Block:
    """The block called `name`; UserError with the nearest known names when there is none."""
    if name not in blocks:
        from difflib import get_close_matches

        near = get_close_matches(name, blocks, n=3) or sorted(blocks)
        raise UserError(f"unknown {kind} '{name}'; did you mean one of: {', '.join(near)}?")
    return blocks[name]


def in_words(settings: Block) -> str:
    """Settings as a title prints them: `n_pca 30, resolution 0.01`."""
    return ", ".join(f"{name} {value}" for name, value in settings.items())
