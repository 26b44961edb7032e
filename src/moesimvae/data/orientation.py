"""Whether a file has cells in its rows, or genes, as in GEO's tables."""

import re
from collections.abc import Sequence

import numpy as np

LOOKED_AT = 2000  # names
# names of a first column of genes: in lower case, letters and digits only
GENE_COLUMNS = frozenset(
    (
        *("gene", "genes", "geneid", "geneids", "genename", "genenames", "genesymbol", "symbol"),
        *("genesymbols", "symbols", "hgnc", "hgncsymbol", "mgisymbol", "ensembl", "ensemblid"),
        *("ensemblgene", "ensemblgeneid", "ensg", "entrez", "entrezid", "entrezgene", "featureid"),
        *("feature", "features", "featurename", "transcript", "transcriptid", "probe", "probeid"),
        *("probeset", "probesetid", "idref", "protein", "proteins", "marker", "markers"),
        *("geneshort", "antibody", "antibodies", "externalgenename", "geneshortname"),
        *("approvedsymbol", "adt", "trackingid", "accession", "refseq", "locus", "locustag"),
        *("target", "analyte"),
    )
)
# columns that describe genes, beside those of the cells
OF_GENES = frozenset(
    (
        *("length", "genelength", "start", "end", "strand", "chr", "chrom", "chromosome", "width"),
        *("entrez", "entrezid", "entrezgene", "geneid", "txlength", "exonlength", "gc"),
        *("gccontent", "effectivelength", "startposition", "endposition", "chromosomename"),
        "baselength",
    )
)
_GENE = re.compile(
    r"ENS[A-Z]{0,4}[GT]\d{6,}(\.\d+)?([_|-].+)?|(hg19|hg38|grch3[78]|mm10|mm9|grcm3[89])_+.+"
    r"|mt-[a-z0-9-]+|rp[ls]\d+[a-z]*\d*(-ps\d+)?|ercc-\d{5}|fbgn\d{7}|wbgene\d{8}|at[1-5cm]g\d{5}"
    r"|(loc|linc)\d{3,}|mir\d+[a-z0-9-]*|[nx][mr]_\d{6,}(\.\d+)?|\w+rik|\d+(_[a-z])?_at"
    r"|gene[ _.-]?\d+|cd\d{1,3}[a-z]{0,2}\d?|hla[-_.]?d?[a-z]{1,2}\d?|\w+\|ENS[A-Z]*G\d+"
    # some that most tables have, human and mouse
    r"|ACTA2|ACTB|ACTG1|ALB|APOE|APP|B2M|BAX|BCL2|BRCA1|BRCA2|C1QA|CCL2|CCL3|CCL4|CCL5"
    r"|CCND1|CCR7|CDH1|CDKN1A|CDKN2A|COL1A1|COL3A1|CREB1|CST3|CTNNB1|CXCL8|CXCR4|DDX11L1"
    r"|EEF1A1|EGFR|EPCAM|ERBB2|ESR1|FCER1A|FCGR3A|FN1|FOS|FOXP3|FTH1|FTL|GAPDH|GATA3|GCG"
    r"|GNLY|GZMA|GZMB|GZMK|HBA1|HBB|HPRT1|HSP90AA1|HSPA1A|IFNG|IGHM|IGKC|IL2|IL32|IL6|IL7R"
    r"|INS|INS1|INS2|JCHAIN|JUN|KLRB1|KLRD1|KRAS|KRT18|KRT19|KRT5|KRT8|LDHA|LEF1|LST1|LTB"
    r"|LYZ|MALAT1|MKI67|MS4A1|MS4A7|MYC|MYH11|NEAT1|NKG7|NOC2L|NOTCH1|OR4F5|PCNA|PECAM1"
    r"|PF4|PGK1|PPBP|PRF1|PTEN|PTPRC|PYY|RB1|S100A4|S100A8|S100A9|SAMD11|SLC2A1|SOX2|SOX4"
    r"|SPARC|SST|TBX21|TCF7|TGFB1|THY1|TMSB4X|TNF|TOP2A|TP53|TPM2|TRAC|TRBC1|TRBC2|TRP53"
    r"|TUBB|TYROBP|VEGFA|VIM|WASH7P|XIST|XKR4|ZEB1|ZEB2",
    re.IGNORECASE,
)
_BARCODE = re.compile(r"(?:(.*)[^A-Za-z])?[ACGTN]{8,}(?:[^A-Za-z].*)?|()[ACGTN]{4,}\d*[-.]\d+")
_CELL = re.compile(
    r"(.*[ _.:-])?(cells?|nucle(us|i)|spot|event|samples?)[ _.#-]*\d+([ _.-].*)?|c\d{3,}"
    r"|(GSM|SRR|ERR|DRR|SAMN)\d+.*|.*(plate\w*|p\d+)[ _.-]*[A-P](0?[1-9]|1\d|2[0-4])",
    re.IGNORECASE,
)
_WELL = re.compile(r"(.*[ _.-])?([A-P])(0?[1-9]|1\d|2[0-4])")


def genes_in_rows(rows: Sequence[str], columns: Sequence[str], first: str = "") -> str:
    """Evidence, in words, that a file has genes in rows and cells in columns; "" if none.

    first: the name of the column of row names.
    """
    shown = f"rows called {', '.join(map(str, rows[:2]))}, columns {', '.join(columns[:2])}"
    rows, columns = _some(rows), _some(columns)
    if not rows or not columns or _cells(rows) >= 0.5:
        return ""
    if re.sub(r"[^a-z0-9]", "", first.lower()) in GENE_COLUMNS:
        return f"its first column is called '{first}'; {shown}"
    genes, other = _genes(rows), _genes(columns)
    if genes > other and genes >= max(0.005, 2 / len(rows)):
        return shown
    return shown if _cells(columns) >= 0.5 else ""


def _some(names: Sequence[str]) -> list[str]:
    at = np.linspace(0, len(names) - 1, min(len(names), LOOKED_AT)).astype(int)
    return [str(names[i]) for i in at]


def _genes(names: list[str]) -> float:
    """The share of names that only genes or markers have."""
    return float(np.mean([bool(_GENE.fullmatch(name)) for name in names]))


def _cells(names: list[str]) -> float:
    """The share of names that only cells have.

    Sequences that each follow a different name are antibody tags (CD3-CTCATTGTAACTCCT).
    """
    barcodes = [match for name in names if (match := _BARCODE.fullmatch(name))]
    if len({match[1] for match in barcodes if match[1]}) > max(1, len(barcodes) / 2):
        barcodes = []
    wells = [match for name in names if (match := _WELL.fullmatch(name))]
    others = sum(bool(_CELL.fullmatch(name)) for name in names)
    if len(wells) < max(8, 0.8 * len(names)) or len({match[2] for match in wells}) < 3:
        wells = []
    return max(len(barcodes), others, len(wells)) / len(names)
