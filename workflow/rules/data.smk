# From official sources or a mirror to features.h5ad, with the labels kept apart.


include: "helpers/data.smk"


rule download:
    """One file of a data set: mirror first, then its sources in order, content checked."""
    output:
        file=f"{DOWNLOADS}/{{folder}}/{{file}}",
    log:
        f"{RESULTS}/logs/download/{{folder}}.{{file}}.log",
    conda:
        "../../envs/base.yaml"
    params:
        block=file_block,
    script:
        "../../scripts/download.py"


rule prepare:
    """Features for the methods, labels for the scoring, facts for the report."""
    input:
        raw=raw_files,
    output:
        features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
        labels=f"{RESULTS}/data/{{dataset}}/labels.parquet",
        facts=f"{RESULTS}/data/{{dataset}}/dataset.json",
    log:
        f"{RESULTS}/logs/prepare/{{dataset}}.log",
    conda:
        "../../envs/base.yaml"
    params:
        block=lambda wildcards: DATASETS[wildcards.dataset],
    script:
        "../../scripts/prepare.py"
