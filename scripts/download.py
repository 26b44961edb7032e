"""Download one raw file, or take it from the mirror; its content is checked.

params  block: the file's entry in datasets.yaml
config  mirror: folder or URL, or none; not a parameter, since it does not change the content
output  file: the raw file; <file>.source.json beside it says where it came from
"""

import sys
from typing import TYPE_CHECKING

from moesimvae.data.download import fetch
from moesimvae.errors import logged

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with logged(snakemake.log[0], quiet=False):
    origin = fetch(
        snakemake.params.block,
        snakemake.output.file,
        mirror=snakemake.config.get("mirror"),
        folder=snakemake.wildcards.folder,
    )
    print(f"{snakemake.output.file} comes from {origin}", file=sys.stderr)
