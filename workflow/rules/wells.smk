# One well is a small data set: on a cluster, all that is done for it is one job, and a profile's
# `group-components: wells=10` makes one job of ten. On one machine, groups mean nothing.


WELLS = [name for name, block in DATASETS.items() if "well" in block]


def well_limit(method, kind):
    """What a run may take on the some ten thousand cells of a well: `runtime` or `mem_mb`."""
    return min(BENCHMARK.limit(method, kind), {"runtime": 20, "mem_mb": 4000}[kind])


use rule prepare as prepare_well with:
    wildcard_constraints:
        dataset="|".join(WELLS),
    group:
        "wells"


use rule cluster as cluster_well with:
    wildcard_constraints:
        dataset="|".join(WELLS),
    group:
        "wells"
    threads: 1
    resources:
        # a cluster job asks for the sum of its runs, so each asks for no more than a well needs
        limit_s=lambda wildcards: int(60 * well_limit(wildcards.method, "runtime")),
        limit_mb=lambda wildcards: well_limit(wildcards.method, "mem_mb"),
        runtime=lambda wildcards: int(well_limit(wildcards.method, "runtime")) + 1,
        mem_mb=lambda wildcards: well_limit(wildcards.method, "mem_mb") + 1000,
        gpu=lambda wildcards: int(METHODS[wildcards.method]["gpu"]),
        attempt=lambda wildcards, attempt: attempt,
        attempts=ATTEMPTS,


use rule controls as controls_well with:
    wildcard_constraints:
        dataset="|".join(WELLS),
    group:
        "wells"


use rule score as score_well with:
    wildcard_constraints:
        dataset="|".join(WELLS),
    group:
        "wells"


ruleorder: prepare_well > prepare
ruleorder: cluster_well > cluster
ruleorder: controls_well > controls
ruleorder: score_well > score
