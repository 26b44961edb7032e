"""What holds for the project as a whole: one lock, and a library that imports one way."""

import ast
import re
import runpy

import pandas as pd

# Who may import whom inside the library; each may also import its own folder.
GROUND = {
    *("closure", "colours", "errors", "files", "keys", "layers", "names", "nouns", "paragraph"),
    *("registry", "surroundings"),
}
FLOORS = {
    **dict.fromkeys(GROUND, GROUND),
    "registry": GROUND | {"model"},  # the presets, plain data
    "config": GROUND,
    "model": GROUND,
    "evaluation": GROUND,
    "data": GROUND,
    "methods": GROUND | {"model"},
    "handover": GROUND | {"model", "data"},
    "studies": GROUND | {"model", "evaluation", "methods", "data", "handover"},
    "report": GROUND | {"model", "evaluation", "data", "studies", "handover"},
    "archive": GROUND | {"evaluation"},
    "scverse": GROUND | {"model"},
    "commands": GROUND | {"model", "data", "methods", "scverse", "handover", "report", "archive"},
    "cli": GROUND | {"commands"},
}


def pins(lines):
    """Package → version of every `name==version` line."""
    found = (re.match(r"\s*(?:- )?([A-Za-z0-9_.\-]+)==(\S+)\s*$", line) for line in lines)
    return {m[1].lower().replace("_", "-"): m[2] for m in found if m}


def test_the_lock_is_exact_and_holds_torch_2_13(root):
    lines = (root / "requirements.lock").read_text().splitlines()
    packages = [line for line in lines if line and not line.startswith("#")]
    locked = pins(packages)
    assert len(locked) == len(packages)
    assert locked["torch"] == "2.13.0"


def imported(path):
    """Modules of the library that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_imports_run_one_way(root):
    library = root / "src" / "moesimvae"
    for path in sorted(library.rglob("*.py")):
        floor = path.relative_to(library).parts[0].removesuffix(".py")
        for module in imported(path):
            assert not module.startswith("snakemake"), path
            parts = module.split(".")
            if parts[0] == "moesimvae" and len(parts) > 1 and floor in FLOORS:
                assert parts[1] in FLOORS[floor] | {floor, "__version__"}, f"{path}: {module}"


def test_no_two_modules_import_each_other(root):
    architecture = runpy.run_path(str(root / "docs" / "architecture.py"))
    graph = architecture["imports_of_modules"](imported)
    assert architecture["circles"](graph) == set()


def test_a_circle_is_seen(root):
    circles = runpy.run_path(str(root / "docs" / "architecture.py"))["circles"]
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert circles(graph) == {frozenset({"b", "c"})}


def test_architecture_is_what_the_imports_say(root):
    written = runpy.run_path(str(root / "docs" / "architecture.py"))["text"]()
    stale = "ARCHITECTURE.md is stale; run `make format`"
    assert (root / "ARCHITECTURE.md").read_text() == written, stale


def test_scripts_stay_thin(root):
    for path in sorted((root / "scripts").glob("*.py")):
        assert len(path.read_text().splitlines()) < 60, path


def test_the_findings_show_the_numbers_of_their_table(root):
    table = pd.read_csv(root / "docs" / "table1" / "table.csv")
    means = table.query("source == 'run'").pivot_table("mean", "title", "metric")
    row = r"^\| (.+?) \| \d+ \| (.+?) \| (.+?) \| .*\| \d+ \|$"
    findings = (root / "docs" / "findings.md").read_text()
    mnist = findings.partition("## MNIST: Table 1")[2].partition("**MoE-Sim-VAE with")[0]
    rows = re.findall(row, mnist, re.MULTILINE)
    assert len(rows) == 13
    for title, accuracy, nmi in rows:
        ours = means.loc[re.sub(r" \((?!Ward|paper).*", "", title)]
        assert float(accuracy.split()[0]) == round(ours["accuracy_hungarian"], 3), title
        assert float(nmi.split()[0]) == round(ours["nmi_arithmetic"], 3), title
