"""The code that a module can run: its import closure within this package, and a hash of it.

A run can thus be checked against the current code, and an edit elsewhere (of a caption, a table,
another method) does not affect it.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent


def code_sha256(modules: Iterable[str | Path], of_files: str = "") -> str:
    """Hash of the code in the import closure of these modules.

    modules: dotted names in this package, or files outside it, which contribute their content and
    what they import from this package. of_files: the hash of further files.
    Comments, docstrings and formatting do not count.
    """
    total = hashlib.sha256(of_files.encode())
    for name, path in sorted((_name(path), path) for path in files_of(modules)):
        total.update(f"{name}\0{_meaning(path.read_bytes())}\0".encode())
    return total.hexdigest()


def files_of(modules: Iterable[str | Path]) -> set[Path]:
    """Files in the import closure of modules (as in `code_sha256`), including their own."""
    todo = [file for module in modules for file in _files(module)]
    found: set[Path] = set()
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += [file for name in imports(path) for file in _files(name)]
    return found


def imports(path: Path) -> Iterator[str]:
    """Names of the modules that a file imports anywhere and cannot run without.

    Imports for type checkers, and optional ones (ImportError is caught), do not count. Nor do those
    in functions of the package's own __init__, which imports the estimator only on demand.
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
    """Files of a module and of its parent packages; none if the module is not in this package."""
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
    """Dump of a file's syntax tree without docstrings."""
    tree = ast.parse(content)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)
