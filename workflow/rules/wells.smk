# A well is a small data set: on a cluster, all its steps form one job, and a profile's
# `group-components: wells=10` makes ten wells one job. On one machine, groups have no effect.


include: "helpers/wells.smk"


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
