# Wells of a plate, and what their runs may take.


WELLS = [name for name, block in DATASETS.items() if "well" in block]


def well_limit(method, kind):
    """Limit of a run on a well of some ten thousand cells: `runtime` or `mem_mb`."""
    return min(BENCHMARK.limit(method, kind), {"runtime": 20, "mem_mb": 4000}[kind])
