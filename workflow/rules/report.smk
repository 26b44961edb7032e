# Every table and figure is a view of the long tables of scores and runs.


include: "helpers/report.smk"


rule project:
    """Two-dimensional view of a run's latent space."""
    input:
        run=f"{RESULTS}/{A_RUN.path}",
    output:
        projection=A_RUN.named(f"{RESULTS}/projections", ".parquet"),
    log:
        f"{RESULTS}/logs/project/{{dataset}}.{{method}}.{{seed}}.log",
    conda:
        "../../envs/base.yaml"
    script:
        "../../scripts/project.py"


rule reconstruct:
    """A run's cells as its experts decode them, on principal components."""
    input:
        run=f"{RESULTS}/{A_RUN.path}",
        features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
    output:
        decoded=A_RUN.named(f"{RESULTS}/projections", ".experts.parquet"),
    log:
        f"{RESULTS}/logs/reconstruct/{{dataset}}.{{method}}.{{seed}}.log",
    conda:
        "../../envs/deep.yaml"
    script:
        "../../scripts/reconstruct.py"


rule components:
    """A data set's cells on the principal components of their values."""
    input:
        features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
    output:
        components=f"{RESULTS}/projections/{{dataset}}/components.parquet",
    log:
        f"{RESULTS}/logs/components/{{dataset}}.log",
    conda:
        "../../envs/base.yaml"
    script:
        "../../scripts/components.py"


rule signature:
    """S1 Table: how well signature genes tell groups of cells apart, in three formats."""
    input:
        features=with_signature("{results}/data/{dataset}/features.h5ad"),
        labels=with_signature("{results}/data/{dataset}/labels.parquet"),
        datasets=with_signature("{results}/data/{dataset}/dataset.json"),
        published=PUBLISHED / "text.csv",
    output:
        csv=f"{RESULTS}/{{experiment}}/signature.csv",
        tex=f"{RESULTS}/{{experiment}}/signature.tex",
        md=f"{RESULTS}/{{experiment}}/signature.md",
        measured=f"{RESULTS}/{{experiment}}/measured.csv",
    log:
        f"{RESULTS}/logs/signature/{{experiment}}.log",
    conda:
        "../../envs/base.yaml"
    params:
        experiment=experiment_of,
    script:
        "../../scripts/signature.py"


rule table:
    """The experiment's tables as csv, LaTeX, Markdown and HTML."""
    input:
        scores=of_datasets("{results}/{experiment}/scores/{dataset}.csv"),
        runs=of_datasets("{results}/{experiment}/scores/{dataset}.runs.csv"),
        run_dirs=all_run_folders,
        datasets=of_datasets("{results}/data/{dataset}/dataset.json"),
        metrics=REGISTRY / "metrics.yaml",
        methods=METHOD_FILES,
        published=published_file,
        remark=published_remark,
    output:
        csv=report(
            f"{RESULTS}/{{experiment}}/table.csv",
            caption="../report/table.rst",
            category="{experiment}",
            subcategory="tables",
            labels={"kind": "csv", "title": "every number, with its values by seed"},
        ),
        tex=report(
            f"{RESULTS}/{{experiment}}/table.tex",
            caption="../report/table.rst",
            category="{experiment}",
            subcategory="tables",
            labels={"kind": "LaTeX", "title": "tables for a paper"},
        ),
        md=f"{RESULTS}/{{experiment}}/table.md",
        by_dataset=f"{RESULTS}/{{experiment}}/by_dataset.csv",
        by_dataset_tex=f"{RESULTS}/{{experiment}}/by_dataset.tex",
        html=report(
            f"{RESULTS}/{{experiment}}/table.html",
            caption="../report/table.rst",
            category="{experiment}",
            subcategory="tables",
            labels={"kind": "table", "title": "methods, quality and cost"},
        ),
    log:
        f"{RESULTS}/logs/table/{{experiment}}.log",
    conda:
        "../../envs/base.yaml"
    params:
        experiment=experiment_of,
    script:
        "../../scripts/table.py"


rule methods_text:
    """Text on the experiment for a paper's methods section, with BibTeX."""
    input:
        run_dirs=all_run_folders,
        datasets=of_datasets("{results}/data/{dataset}/dataset.json"),
        features=of_datasets("{results}/data/{dataset}/features.h5ad"),
        metrics=REGISTRY / "metrics.yaml",
        methods=METHOD_FILES,
    output:
        md=f"{RESULTS}/{{experiment}}/methods.md",
    log:
        f"{RESULTS}/logs/methods/{{experiment}}.log",
    conda:
        "../../envs/base.yaml"
    params:
        experiment=experiment_of,
    script:
        "../../scripts/methods_text.py"


rule figures:
    """Scores, cost, populations, clusters, latent spaces and losses, as PNG and PDF."""
    input:
        table=f"{RESULTS}/{{experiment}}/table.csv",
        runs=of_datasets("{results}/{experiment}/scores/{dataset}.runs.csv"),
        populations=of_datasets(
            "{results}/{experiment}/scores/{dataset}.populations.csv"
        ),
        showcase=in_detail(showcase_folders),
        projections=in_detail(showcase_projections),
        decoded=in_detail(showcase_decoded),
        labels=in_detail(of_datasets("{results}/data/{dataset}/labels.parquet")),
        features=in_detail(of_datasets("{results}/data/{dataset}/features.h5ad")),
        components=with_signature("{results}/projections/{dataset}/components.parquet"),
        figure3=figure3_runs,
        figure3_projections=figure3_projections,
        datasets=of_datasets("{results}/data/{dataset}/dataset.json"),
        metrics=REGISTRY / "metrics.yaml",
        methods=METHOD_FILES,
    output:
        pictures(f"{RESULTS}/{{experiment}}/figures", "{experiment}"),
    log:
        f"{RESULTS}/logs/figures/{{experiment}}.log",
    conda:
        "../../envs/base.yaml"
    params:
        showcase=lambda wildcards: experiment_of(wildcards)["showcase"],
    script:
        "../../scripts/figures.py"


rule page:
    """One self-contained HTML report."""
    input:
        table=f"{RESULTS}/{{experiment}}/table.csv",
        runs=of_datasets("{results}/{experiment}/scores/{dataset}.runs.csv"),
        run_dirs=all_run_folders,
        remark=published_remark,
        signature=signature_file,
        screening=screening_file,
        figures=f"{RESULTS}/{{experiment}}/figures",
        significance=f"{RESULTS}/{{experiment}}/significance",
        quality=f"{RESULTS}/{{experiment}}/quality.csv",
        kept=kept_in_docs,
        projections=latent_spaces,
        labels=in_detail(of_datasets("{results}/data/{dataset}/labels.parquet")),
        datasets=of_datasets("{results}/data/{dataset}/dataset.json"),
        metrics=REGISTRY / "metrics.yaml",
        methods=METHOD_FILES,
    output:
        report=report(
            f"{RESULTS}/{{experiment}}/report.html",
            caption="../report/page.rst",
            category="{experiment}",
            subcategory="page",
            labels={"kind": "page", "title": "the whole report on one page"},
        ),
    log:
        f"{RESULTS}/logs/page/{{experiment}}.log",
    conda:
        "../../envs/base.yaml"
    params:
        experiment=experiment_of,
        clustered=first_runs,
    script:
        "../../scripts/page.py"


# Like verdicts, the index is made from what the results folder holds, so it starts no run; with
# `all` it comes last.
rule index:
    """One page on all experiments in results/: leaderboard, verdicts, pictures."""
    input:
        after=pages_before_index,
        metrics=REGISTRY / "metrics.yaml",
    output:
        index=report(
            f"{RESULTS}/index.html",
            caption="../report/index.rst",
            category="all experiments",
            labels={"kind": "page", "title": "index and leaderboard"},
        ),
    log:
        f"{RESULTS}/logs/index.log",
    conda:
        "../../envs/base.yaml"
    params:
        titles={
            name: BENCHMARK.experiment(name)["title"]
            for name in BENCHMARK.experiments()
        },
        pages=pages_hash,
    script:
        "../../scripts/index.py"
