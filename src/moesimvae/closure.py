"""Which code a module comes to run: its import closure within this package, and a hash of it.

So a run can tell whether it was made by the code as it is now, and an edit elsewhere (of a caption,
a table, another method) says nothing about it.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent


def code_sha256(modules: Iterable[str | Path], of_files: str = "") -> str:
    """Hash of the code that these modules come to run.

    modules: dotted names in this package, or files outside of it, which count by their content and
    by what they import of this package. of_files: the hash of further files.
    Comments, docstrings and layout do not count.
    """
    total = hashlib.sha256(of_files.encode())
    for name, path in sorted((_name(path), path) for path in files_of(modules)):
        total.update(f"{name}\0{_meaning(path.read_bytes())}\0".encode())
    return total.hexdigest()


def files_of(modules: Iterable[str | Path]) -> set[Path]:
    """The files that modules (as of `code_sha256`) come to import, themselves among them."""
    todo = [file for module in modules for file in _files(module)]
    found: set[Path] = set()
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += [file for name in imports(path) for file in _files(name)]
    return found


def imports(path: Path) -> Iterator[str]:
    """Names of the modules that a file imports anywhere, and that it cannot do without.

    Those for type checkers, and those tried and missed without harm, do not count. The package's
    own __init__ imports the estimator only when it is asked for.
    """
    todo: list[ast.AST] = [_parsed(path.read_bytes())]
    while todo:
        for node in ast.iter_child_nodes(todo.pop()):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            if isinstance(node, ast.FunctionDef) and path == PACKAGE / "__init__.py":
                continue
            if isinstance(node, ast.Try) and any(
                handler.type and ast.unparse(handler.type) == "ImportError"
                for handler in node.handlers
            ):
                continue
            todo.append(node)
            if isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)


def _files(module: str | Path) -> list[Path]:
    """The file of a module and those of the packages it lies in; none outside of this package."""
    if isinstance(module, Path):
        return [module]
    parts = module.split(".")
    if parts[0] != PACKAGE.name:
        return []
    found = []
    for n in range(1, len(parts) + 1):
        place = PACKAGE.joinpath(*parts[1:n])
        found += [p for p in (place / "__init__.py", place.with_suffix(".py")) if p.is_file()][:1]
    return found


def _name(path: Path) -> str:
    inside = path.is_relative_to(PACKAGE)
    return path.relative_to(PACKAGE).as_posix() if inside else path.name


@functools.cache
def _parsed(content: bytes) -> ast.Module:
    return ast.parse(content)


@functools.cache
def _meaning(content: bytes) -> str:
    """The code of a file without its docstrings."""
    tree = ast.parse(content)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
