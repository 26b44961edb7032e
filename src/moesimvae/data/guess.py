"""What a file's values look like, judged by the number and names of its features and the values.

Nothing here is certain: messages based on it always name the alternative.
"""

import re
from dataclasses import dataclass
from typing import Any

import anndata
import numpy as np
import scipy.sparse as sp

PANEL = 100  # features: a mass cytometer has no more channels
ANTIBODIES = 300  # and no kit of sequenced antibodies has more
# above any logarithm: log(1 + 1,000,000), all counts per million in one gene, is 13.8
MOST_LOGARITHM = 15
LEAST_GENES = 20
_METAL = re.compile(
    r"\(?[A-Z][a-z]?\)?\(?\d{2,3}\)?D[id].*"  # Ir191Di, (Ir191)Di, Ir(191)Di
    r"|(89Y|127I|\d{2,3}[A-Z][a-z])([_-].*|D[id])?"  # 191Ir, 191Ir_DNA1
    r"|(.*[ _-])?(?i:DNA[ _-]?[12]|(event|cell)[ _-]?length|cisplatin|beads?)"
)
_SCATTER = re.compile(r"(?i:(FSC|SSC)([ _.-]?[AHW])?)")
CHANNELS = 1024  # of old flow cytometers, whose values are on a logarithmic scale already
# proteins whose gene has another name, so that these names belong to antibodies, not genes
_PROTEIN = re.compile(
    r"(CD(3|8|10|11[ABC]?|15|16|20|21|23|25|26|29|30|31|32|35|39|41|42[AB]?|45(R[ABO]{1,2})?|"
    r"49[A-F]|50|54|56|57|61|62[ELP]|64|66[A-E]?|71|73|90|94|95|103|105|106|117|11[89]|12[0-9]|"
    r"13[0-9][A-Z]?|140[AB]?|141|152|154|161|162|169|172[A-Z]?|178|183|184|185|194|195|196|197|206|"
    r"223|235([AB]|AB)?|278|279|294|314|335|336|337|366)|HLA_?(DR|DQ|ABC)|IG[DMGA]|TCR.*|KI_?67|PD_?L?1|"
    r"P_?STAT\d|P_?ERK(1_?2)?|P_?S6)(_.*)?"
)
_CLUSTER_OF_DIFFERENTIATION = re.compile(r"CD\d+[A-Z]*(_.*)?")
_TAGGED = re.compile(
    r"(?i).*(totalseq|_adt|adt_|isotype|antibody).*|.*[-_](prot|protein)|anti[-_].*"
)


@dataclass(frozen=True)
class Look:
    """least, most: of all values. whole: all are integers. zeros, ones: the share of zeros, and of
    integers among the others. sum: the median over cells. equal_sums: all cells have the same sum.
    logarithm: undoing log(1 + x), to any base, gives equal sums or integers.
    """

    features: int
    least: float
    most: float
    whole: bool
    zeros: float
    ones: float
    sum: float
    equal_sums: bool
    logarithm: bool

    @property
    def counts(self) -> bool:
        return self.whole and self.least >= 0 and self.most > 1

    @property
    def expected_counts(self) -> bool:
        """Fractional counts: zeros, many features, values beyond logarithms or partly integers."""
        fractions = self.least >= 0 and not self.whole and not self.logarithm
        many = self.zeros >= 0.05 and self.features >= LEAST_GENES and self.most > 2
        large = self.most > MOST_LOGARITHM or self.ones >= 0.1
        return fractions and many and large and not self.equal_sums

    @property
    def per_million(self) -> bool:
        fractions = self.least >= 0 and not self.whole and self.features >= LEAST_GENES
        return fractions and self.equal_sums and self.most > MOST_LOGARITHM


def look(part: Any) -> Look | None:
    """What some cells × features look like; None unless all are finite numbers."""
    values = part.data if sp.issparse(part) else np.asarray(part)
    if values.dtype.kind not in "iuf" or not values.size or not np.isfinite(values).all():
        return None
    stored = values[values != 0]
    n = part.shape[0] * part.shape[1]
    whole = stored == np.floor(stored)
    sums = _sums(part)
    with np.errstate(over="ignore", invalid="ignore"):
        logarithm = any(_logarithm(part, power) for power in (np.expm1, _exp2m1, _exp10m1))
    return Look(
        features=part.shape[1],
        least=float(min(values.min(), 0 if len(stored) < n else np.inf)),
        most=float(values.max()),
        whole=bool(whole.all()),
        zeros=1 - len(stored) / n,
        ones=float(whole.mean()) if len(stored) else 0.0,
        sum=float(np.median(sums)),
        equal_sums=_equal(sums),
        logarithm=logarithm,
    )


def _exp2m1(values: np.ndarray) -> np.ndarray:
    return np.exp2(values) - 1


def _exp10m1(values: np.ndarray) -> np.ndarray:
    return 10.0**values - 1


def _logarithm(part: Any, power: Any) -> bool:
    """Whether values are logarithms: undone, cells have equal sums, or all values are integers."""
    part = part[:1000]
    if sp.issparse(part):
        undone: Any = part.astype(np.float64)
        values = undone.data = power(undone.data)
    else:
        undone = power(np.asarray(part, dtype=np.float64))
        values = undone[undone != 0]
    if not np.isfinite(values).all() or not len(values):
        return False
    near = np.abs(values - np.round(values)) <= 1e-4 * np.maximum(1, np.abs(values))
    small = values < 100  # for larger ones float32 is too imprecise to tell
    return _equal(_sums(undone)) or bool(small.any() and near[small].all())


def _sums(part: Any) -> np.ndarray:
    return np.asarray(part.sum(axis=1, dtype=np.float64)).ravel()


def _equal(sums: np.ndarray) -> bool:
    sums = sums[sums > 0]
    return len(sums) > 1 and bool(np.ptp(sums) <= 2e-3 * np.median(sums))


# ---------------------------------------------------------------------- panels


def panel(cells: anndata.AnnData) -> tuple[str, list[str]]:
    """(the kind of panel that the features' names suggest, some names that suggest it).

    "fluorescence": some are scatter. "cytometry": some are channels of a mass cytometer.
    "proteins": many are names of proteins but not of their genes. "antibodies": the same, but
    sequenced. "": none, as with genes.
    """
    names = [str(name) for name in cells.var_names]
    if not names or len(names) > ANTIBODIES:
        return "", []
    tagged = [name for name in names if _TAGGED.fullmatch(name)]
    kinds = [column for column in ("feature_types", "feature_type") if column in cells.var]
    sequenced = any((cells.var[column].astype(str) == "Antibody Capture").all() for column in kinds)
    if sequenced or len(tagged) > len(names) / 2:
        return "antibodies", tagged[:3] or names[:3]
    scatter = [name for name in names if _SCATTER.fullmatch(name)]
    if scatter and len(names) <= PANEL and not kinds:
        return "fluorescence", scatter[:3]
    channels = [*names, *(cells.var["channel"].astype(str) if "channel" in cells.var else ())]
    metals = [name for name in channels if _METAL.fullmatch(name)]
    plain = [re.sub(r"[\s./-]+", "_", name.upper()) for name in names]
    sure = [name for name, p in zip(names, plain, strict=True) if _PROTEIN.fullmatch(p)]
    alike = [p for p in plain if _PROTEIN.fullmatch(p) or _CLUSTER_OF_DIFFERENTIATION.fullmatch(p)]
    if len(metals) + bool(alike) >= 2 and metals and len(names) <= PANEL and not kinds:
        return "cytometry", metals[:3]
    if len(sure) < 2 or len(alike) < len(names) / 3:
        return "", []
    return ("proteins" if len(names) <= PANEL and not kinds else "antibodies"), sure[:3]


# ---------------------------------------------------------------------- barcodes without a cell


def empty(sums: np.ndarray) -> tuple[int, int] | None:
    """(number of empty barcodes, count threshold) where most barcodes hold no cell; else None.

    Empty: fewer counts than a hundredth of the tenth largest sum, or than ten if that is more.
    """
    if len(sums) < 100:
        return None
    largest = float(np.sort(sums)[-10])
    limit = max(10, round(largest / 100))
    below = int(np.count_nonzero(sums < limit))
    most = below > len(sums) / 2 and largest >= 5 * limit
    return (below, limit) if most or np.count_nonzero(sums == 0) > len(sums) / 2 else None
