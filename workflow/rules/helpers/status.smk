# Reports each run as it ends, from a separate process beside the workflow's.
import subprocess

WATCH = []


def asked_for():
    """Experiments that this call makes any part of: by name, by `all`, or by one of their files."""
    targets = {str(target) for target in workflow.dag_settings.targets} or {"all"}
    return [
        name
        for name in BENCHMARK.experiments()
        if name in targets
        or ("all" in targets and not BENCHMARK.experiment(name)["on_request"])
        or any(target.startswith(f"{RESULTS}/{name}/") for target in targets)
    ]


def start_watch():
    experiments = [
        {
            "results": RESULTS,
            "experiment": BENCHMARK.experiment(name),
            "runs": BENCHMARK.runs(name),
            "methods": dict(METHODS),
            "metrics": METRICS,
            "datasets": {
                d: DATASETS[d] for d in BENCHMARK.experiment(name)["datasets"]
            },
        }
        for name in asked_for()
    ]
    if experiments:
        python = shlex.split(sys.executable)[0]
        script = of_repository("scripts/status.py")
        WATCH.append(
            subprocess.Popen([python, script], stdin=subprocess.PIPE, text=True)
        )
        with contextlib.suppress(BrokenPipeError), WATCH[0].stdin as given:
            json.dump(experiments, given, default=str)


def end_watch():
    """Let it look once more and report what there is."""
    for process in WATCH:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
