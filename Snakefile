# data sets × methods × seeds → labels → scores → the paper's tables and figures
from snakemake.utils import min_version

min_version("9.20")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/methods.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    demo,
    table1,
    ablation,


rule all:
    """Every experiment of config.yaml."""
    default_target: True
    input:
        [experiment_outputs(name) for name in BENCHMARK.experiments()],


rule demo:
    """Embedded and simulated data: tables, figures and report in a few minutes, no network."""
    input:
        experiment_outputs("demo"),


rule table1:
    """Table 1: MNIST, the published numbers beside every method run here."""
    input:
        experiment_outputs("table1"),


rule ablation:
    """MNIST: MoE-Sim-VAE with one part of it taken away at a time."""
    input:
        experiment_outputs("ablation"),
