"""Write ARCHITECTURE.md: the library's modules and who imports whom, read from the imports.

`make format` runs it; tests/test_project.py checks that the file equals what it writes.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from moesimvae import closure

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "src" / "moesimvae"
FILE = ROOT / "ARCHITECTURE.md"
HEAD = """# Architecture

Written by `docs/architecture.py` (`make format`) from the imports themselves; do not edit it.
What a folder is for stands in the [README](README.md#architecture), who may import whom in
`tests/test_project.py`.

## Floors

Rules run `scripts`, and `scripts` call the library. An arrow says *imports*, anywhere in a file
and at whatever time; one that follows from others is left out.
"""


def main() -> None:
    FILE.write_text(text(), encoding="utf-8")
    print(FILE.name)


def text() -> str:
    """What ARCHITECTURE.md holds."""
    graph = imports_of_modules()
    tables = [_table(folder, graph) for folder in sorted({_folder(name) for name in graph})]
    return "\n".join([HEAD, _picture(graph), "", "## Modules", *tables, ""])


def imports_of_modules(
    imports: Callable[[Path], Iterable[str]] = closure.imports,
) -> dict[str, set[str]]:
    """Library module, such as `model.losses` → the library modules that it imports.

    imports: the names that a file imports; by default those it cannot do without when it runs.
    """
    files = {_name(path): path for path in LIBRARY.rglob("*.py") if path.stem != "__init__"}
    graph = {}
    for name, path in sorted(files.items()):
        graph[name] = _known(imports(path), files) - {name}
    return graph


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Modules that import each other, directly or through others."""
    reached = {name: _reached(name, graph) for name in graph}
    found = {
        frozenset(other for other in reached[name] if name in reached[other]) for name in graph
    }
    return {circle for circle in found if circle}


def _reached(name: str, graph: dict[str, set[str]]) -> set[str]:
    todo, found = [*graph.get(name, ())], set[str]()
    while todo:
        other = todo.pop()
        if other not in found:
            found.add(other)
            todo += graph.get(other, ())
    return found


def _name(path: Path) -> str:
    return ".".join(path.relative_to(LIBRARY).with_suffix("").parts)


def _known(names: Iterable[str], modules: dict[str, Path]) -> set[str]:
    """The modules behind the names that a file imports, `moesimvae.files.atomic` among them."""
    inside = [n.removeprefix("moesimvae.") for n in names if n.startswith("moesimvae.")]
    return {n for name in inside for n in (name, name.rpartition(".")[0]) if n in modules}


def _folder(name: str) -> str:
    """The folder of a module, "" for one outside the folders."""
    return name.rpartition(".")[0]


def _floor(name: str) -> str:
    """What represents a module in the picture: its folder, or itself if it is in none."""
    return _folder(name) or name


def _picture(graph: dict[str, set[str]]) -> str:
    """The floors and their arrows, as Mermaid."""
    floors: dict[str, set[str]] = {_floor(name): set() for name in graph}
    for name, others in graph.items():
        floors[_floor(name)] |= {_floor(other) for other in others} - {_floor(name)}
    known = dict.fromkeys(graph, LIBRARY)
    used = {o for s in (ROOT / "scripts").glob("*.py") for o in _known(closure.imports(s), known)}
    floors["scripts"] = {_floor(name) for name in used}
    arrows = [
        f"    {floor} --> {other}"
        for floor, others in sorted(floors.items())
        for other in sorted(others)
        if not any(_follows(other, further, floor, floors) for further in others - {other})
    ]
    return "\n".join(["```mermaid", "flowchart TD", *arrows, "```"])


def _follows(other: str, further: str, floor: str, floors: dict[str, set[str]]) -> bool:
    """Whether the arrow to `other` follows from the one to `further`, and not by a cycle."""
    reached = _reached(further, floors)
    return other in reached and floor not in reached and further not in _reached(other, floors)


def _table(folder: str, graph: dict[str, set[str]]) -> str:
    rows = [
        f"| `{name}` | {_first_line(name)} | {_listed(others)} |"
        for name, others in graph.items()
        if _folder(name) == folder
    ]
    title = f"`{folder}`" if folder else "Beside the folders"
    head = [f"\n### {title}\n", "| module | what it is | imports |", "|---|---|---|"]
    return "\n".join(head + rows)


def _first_line(name: str) -> str:
    lines = LIBRARY.joinpath(*name.split(".")).with_suffix(".py").read_text("utf-8").splitlines()
    return lines[0].removeprefix('"""').removesuffix('"""').replace("|", "\\|")


def _listed(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    main()
