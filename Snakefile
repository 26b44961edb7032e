# data sets × methods × seeds → labels → scores → the paper's tables and figures
from snakemake.utils import min_version

min_version("9.20")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/methods.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/wells.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    demo,
    table1,
    ablation,
    table3,
    table3_subsets,
    figure4,
    scale,


rule all:
    """Every experiment of config.yaml but those on request."""
    default_target: True
    input:
        [
            experiment_outputs(name)
            for name in BENCHMARK.experiments()
            if not BENCHMARK.experiment(name)["on_request"]
        ],


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


rule table3:
    """Table 3: the four mass cytometry sets of Weber and Robinson, 30 seeds."""
    input:
        experiment_outputs("table3"),


rule table3_subsets:
    """Table 3 on subsets of three of its data sets, from a mirror folder."""
    input:
        experiment_outputs("table3_subsets"),


rule figure4:
    """Figure 4, S2 Table, S8 Figure: wells of Bodenmiller et al. (config key bodenmiller)."""
    input:
        experiment_outputs("figure4"),


rule scale:
    """Time and memory of every method on simulated cells of Samusik_all's size."""
    input:
        experiment_outputs("scale"),
