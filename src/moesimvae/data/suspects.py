"""Columns that earlier programs left in a table, recognised by name: not what cells express.

Names are compared in lower case, with `_` for all symbols and also between a small and a capital
letter; with `JOINED`, only their letters. Genes and markers must pass: PC, PCNA, CLU, MST1, STIM1.
"""

import re
from collections.abc import Sequence

# anywhere in a name reduced to its letters
JOINED = re.compile(
    "tsne|umap|visne|flowsom|phenograph|louvain|leiden|seurat|kmeans|hdbscan|xshift|clust|doublet"
    "|scrublet|pseudotime|celltype|snnres|annotation|embedsom|pacmap|forceatlas|drawgraph|flowmeans|flowpeaks|densvm"
    "|samspectral"
)
_THING = (
    "sample|batch|donor|patient|subject|individual|file|plate|well|day|condition|replicate|lane|run"
    "|mouse|animal|tissue|organ|library|experiment|time_?point|treatment|stimulation|group|sex"
    "|gender|age|cohort|study|visit|site|gate|gating|label|population|class|type|subset|lineage"
    "|cell|event|object|image|roi|fov|spot|row|col|column|line|acquisition|dataset|project|chip|pool"
    "|state|ident|identity|status|outcome|phase|community|partition|membership|node|branch|category|target"
)
_CODE = "id|ids|no|nr|num|number|name|index|idx|code|key|label|s|value|count|n|\\d+"
_BEFORE = (
    "orig|original|tech|technical|bio|biological|manual|true|predicted|pred|cell|event|major|minor"
    "|broad|fine"
)
CODES = re.compile(rf"(?:(?:{_BEFORE})_)*(?:{_THING})s?(?:_?(?:{_CODE}))*")
EARLIER = re.compile(
    "|".join(
        [
            r"(?:stim|pop)(?:_\d+|_?(?:id|no|nr|num|number|name|index))?",  # and not STIM1, POP4
            # embeddings, neighbourhoods
            r"(?:x_)?(?:(?:opt|fit|hsne|h|a|bh|v)_)?sne(?:_?(?:\d+|[xy]))?|mst(?:_(?:[xy]|\d+)|[xy])?",
            r"(?:x_)?(?:pca?|pcs|dc|ic|ica|lsi|lda|nmf|phate|trimap|diffmap|isomap|mds|harmony|mnn|scvi"
            r"|latent|embedding|component|dim)_\d+|(?:x_)?(?:pca|lsi|phate|trimap|diffmap|harmony|fdl)\d+",
            r"meta_?\d+|som_?\d+|(?:flow_?)?som_.*|k_?means.*|gmm_?\d*|res_?\d.*|k_?\d+_?nn|spade.*",
            # quality metrics
            r"n_?(?:count|feature|gene|umi|read|transcript|molecule|cell)s?(?:_.*)?",
            r"(?:log_?1_?p|log_?10|log)?_?(?:total|num|number_of|sum)_?(?:count|umi|feature|read|gene)s?"
            r"(?:_.*)?",
            r"(?:log_?1_?p|log_?10|log)_(?:n_)?(?:count|umi|feature|read|gene)s?(?:_.*)?",
            r"percent.*|(?:pct|perc|fraction|frac|prop|ratio)_.*|.*_(?:pct|percent|fraction|ratio)",
            r"mito|mito_?(?:ratio|frac|percent|pct|genes)|(?:.*_)?umis?|(?:umi|read)s?_?counts?|reads?|counts?|depth",
            r"(?:lib|library)_?size|(?:size|norm)_?factors?|sum_?factors?|log_?10_?genes_?per_?umi",
            r"(?:.*_)?scores?(?:_.*)?|cc_?difference|g_?[12]_?m(?:_?phase)?|cell_?cycle.*|complexity",
            r"(?:.*_)?(?:prob|probability|confidence|entropy|silhouette)(?:_.*)?|dpt_.*|velocity_.*"
            r"|is_.*|outliers?|selected|filtered|weights?|ground_?truth|truth|y_(?:true|pred)",
            # positions and row numbers
            r"[xyz]|(?:[xyz]_)(?:pos|position|coord|coordinate|centroid|center|location|loc)s?",
            r"(?:pos|position|coord|coordinate|centroid|center|location|loc)s?(?:_?[xyz\d])?",
            r"(?:array|image|pxl)_?(?:row|col).*|row_?names?|row_?numbers?|index|id|time|unnamed_.*|level_\d+",
        ]
    )
)
# with a number right after: PC1 alone is a gene's alias, PC1 beside PC2 is not
_SERIES = re.compile(r"(pc|dc|ic|ld|nmf|lda|ica|scvi|dim|factor|topic)_?(\d+)")
_UNNAMED = re.compile(r"\.\.\.\d+")  # as R's readr names a column


def codes(names: Sequence[str]) -> set[str]:
    """Names that look like attributes of a cell whose numbers would be codes: SampleID."""
    return {name for name in names if any(map(CODES.fullmatch, _plain(name)))}


def earlier(names: Sequence[str]) -> set[str]:
    """Names that look like results of earlier programs: tSNE1, nCount_RNA."""
    found = {name for name in names if _is_earlier(name)}
    series: dict[str, dict[str, str]] = {}
    for name in names:
        if match := _SERIES.fullmatch(name.lower()):
            series.setdefault(match[1], {})[match[2]] = name
    return found.union(*(these.values() for these in series.values() if len(these) > 1))


def _is_earlier(name: str) -> bool:
    joined = re.sub(r"[^a-z]", "", name.lower())
    return bool(
        JOINED.search(joined)
        or _UNNAMED.fullmatch(name)
        or any(map(EARLIER.fullmatch, _plain(name)))
    )


def _plain(name: str) -> set[str]:
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return {re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") for text in (name, parted)}
