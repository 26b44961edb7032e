"""The docs' tutorials run as they stand; `UPDATE_TUTORIALS=1` stores what they print."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "tutorials"


def kinds(cell) -> set[str]:
    """Of what kinds the outputs of a cell are; numbers and times may differ between machines."""
    return {output["output_type"] for output in cell.get("outputs", [])}


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_tutorial_runs(path, tmp_path, monkeypatch):
    # `!moesimvae` is the command of this environment
    command = tmp_path / "bin" / "moesimvae"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m moesimvae.cli "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(path, as_version=4)
    stored = [kinds(cell) for cell in notebook.cells]
    (tmp_path / "work").mkdir()
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path / "work")}}
    ).execute()
    printed = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))
    assert "Traceback" not in printed
    assert "error:" not in printed
    assert "wrote" in printed
    if "UPDATE_TUTORIALS" in os.environ:
        notebook.metadata = {k: notebook.metadata[k] for k in ("kernelspec", "language_info")}
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(notebook, path)
    else:
        assert stored == [kinds(cell) for cell in notebook.cells], "run with UPDATE_TUTORIALS=1"
