# Wells of a plate, and what their runs may take.


WELLS = [name for name, block in DATASETS.items() if "well" in block]


def well_limit(method, kind):
    """What a run may take on the some ten thousand cells of a well: `runtime` or `mem_mb`."""
    return min(BENCHMARK.limit(method, kind), {"runtime": 20, "mem_mb": 4000}[kind])
