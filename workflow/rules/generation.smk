# What trained models generate: Figure 2, S2 to S6 Figures, generated cells against real ones.
# Labels serve to name clusters and to train the classifier that judges images.


include: "helpers/generation.smk"


rule judge:
    """A classifier trained on real images, with no knowledge of any model."""
    input:
        features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
        labels=f"{RESULTS}/data/{{dataset}}/labels.parquet",
    output:
        judge=directory(f"{RESULTS}/generation/judge/{{dataset}}"),
    log:
        f"{RESULTS}/logs/generation/judge.{{dataset}}.log",
    conda:
        "../../envs/deep.yaml"
    params:
        epochs=GENERATION["epochs"],
    script:
        "../../scripts/gen_judge.py"


rule generate_images:
    """Images of every cluster of a run, judged by the run's own clustering and by the judge."""
    input:
        run=f"{RESULTS}/{A_RUN.path}",
        features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
        labels=f"{RESULTS}/data/{{dataset}}/labels.parquet",
        judge=f"{RESULTS}/generation/judge/{{dataset}}",
    output:
        study=directory(A_RUN.named(f"{RESULTS}/generation/images")),
    log:
        f"{RESULTS}/logs/generation/images.{{dataset}}.{{method}}.{{seed}}.log",
    conda:
        "../../envs/deep.yaml"
    params:
        images=GENERATION["images"],
        thresholds=GENERATION["thresholds"],
    script:
        "../../scripts/gen_images.py"


rule latent_distances:
    """MMD between the clusters of a run in latent space."""
    input:
        run=f"{RESULTS}/{A_RUN.path}",
        features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
        labels=f"{RESULTS}/data/{{dataset}}/labels.parquet",
    output:
        distances=A_RUN.named(f"{RESULTS}/generation/distances", ".csv"),
    log:
        f"{RESULTS}/logs/generation/distances.{{dataset}}.{{method}}.{{seed}}.log",
    conda:
        "../../envs/deep.yaml"
    script:
        "../../scripts/gen_distances.py"


rule predict_cells:
    """Cells drawn from scVI, for data with counts of more genes than a panel."""
    input:
        features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
    output:
        cells=f"{RESULTS}/generation/scvi/{{dataset}}_seed{{seed}}.npz",
    log:
        f"{RESULTS}/logs/generation/scvi.{{dataset}}.{{seed}}.log",
    conda:
        "../../envs/scvi.yaml"
    params:
        seed=lambda wildcards: int(wildcards.seed),
    script:
        "../../scripts/gen_scvi.py"


rule generate_cells:
    """Cells of every cluster of a run as h5ad, and how they compare with the real ones."""
    input:
        predictive=predicted_cells,
        run=f"{RESULTS}/{A_RUN.path}",
        features=f"{RESULTS}/data/{{dataset}}/features.h5ad",
        labels=f"{RESULTS}/data/{{dataset}}/labels.parquet",
    output:
        study=directory(A_RUN.named(f"{RESULTS}/generation/cells")),
    log:
        f"{RESULTS}/logs/generation/cells.{{dataset}}.{{method}}.{{seed}}.log",
    conda:
        "../../envs/deep.yaml"
    script:
        "../../scripts/gen_cells.py"


rule generation_figure2:
    """Figure 2."""
    input:
        studies=generation_paths("generation/images", ["runs"]),
        judge=f"{RESULTS}/generation/judge/{GENERATION['dataset']}",
        methods=METHOD_FILES,
    output:
        figures=pictures(f"{RESULTS}/figure2/figures", "figure2"),
        table=f"{RESULTS}/figure2/table.csv",
    log:
        f"{RESULTS}/logs/generation/figure2.log",
    conda:
        "../../envs/deep.yaml"
    script:
        "../../scripts/gen_figure2.py"


rule generation_supplement:
    """S2 to S6 Figures, and the quality of what is generated."""
    input:
        studies=generation_paths("generation/images", ["runs"]),
        distances=generation_paths(
            "generation/distances", ["similarity", "runs"], ".csv"
        ),
        projections=generation_paths("projections", ["similarity", "runs"], ".parquet"),
        runs=generation_paths("runs", ["similarity", "runs"]),
        labels=f"{RESULTS}/data/{GENERATION['dataset']}/labels.parquet",
        cells=generated_cells(),
        judge=f"{RESULTS}/generation/judge/{GENERATION['dataset']}",
        methods=METHOD_FILES,
        published=PUBLISHED / "text.csv",
    output:
        figures=pictures(f"{RESULTS}/supplement/figures", "supplement"),
        generation=f"{RESULTS}/supplement/generation.csv",
        mmd=f"{RESULTS}/supplement/mmd.csv",
        quality=f"{RESULTS}/supplement/quality.csv",
        cells=f"{RESULTS}/supplement/cells.csv",
        measured=f"{RESULTS}/supplement/measured.csv",
        summary=f"{RESULTS}/supplement/summary.md",
    log:
        f"{RESULTS}/logs/generation/supplement.log",
    conda:
        "../../envs/deep.yaml"
    params:
        similarity=list(GENERATION["similarity"]),
    script:
        "../../scripts/gen_supplement.py"


if "synthetic" in BENCHMARK.experiments():

    rule synthetic_figure:
        """S1 Figure."""
        input:
            scores=[
                f"{RESULTS}/synthetic/scores/{dataset}.csv"
                for dataset in BENCHMARK.experiment("synthetic")["datasets"]
            ],
            methods=METHOD_FILES,
        output:
            figures=pictures(f"{RESULTS}/synthetic/s1", "synthetic"),
            measured=f"{RESULTS}/synthetic/measured.csv",
        log:
            f"{RESULTS}/logs/generation/synthetic.log",
        conda:
            "../../envs/deep.yaml"
        params:
            datasets={
                name: DATASETS[name]
                for name in BENCHMARK.experiment("synthetic")["datasets"]
            },
        script:
            "../../scripts/gen_synthetic.py"
