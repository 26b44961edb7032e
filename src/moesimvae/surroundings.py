"""What Snakemake and libraries need from the system, checked before anything starts.

`python -m moesimvae.surroundings` checks what Snakemake needs before it reads the Snakefile.
"""

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from moesimvae.errors import UserError, one_sentence


def require_cache() -> None:
    """Raise UserError if Snakemake cannot store the files that it needs while it runs."""
    folder = _cache() / "snakemake"
    if reason := _why_not_writable(folder):
        raise UserError(
            f"Snakemake keeps files in {folder}, which is not writable ({reason}); set "
            "XDG_CACHE_HOME to a writable folder."
        )


def require_working_folder() -> None:
    """Raise UserError if Snakemake cannot keep its state in the working folder."""
    if reason := _why_not_writable(Path(".snakemake")):
        raise UserError(
            f"the working folder {Path.cwd()}, where Snakemake keeps its state, is not writable "
            f"({reason}); give a writable one: --directory FOLDER."
        )


def require_plain_path(clone: Path) -> None:
    """Raise UserError for braces in the path, which Snakemake would fill in."""
    if set(str(clone)) & set("{}"):
        raise UserError(
            f"the clone is in {clone}, and Snakemake would treat the braces as placeholders; move "
            "it to a path without braces."
        )


def provide_caches() -> None:
    """Give Numba and matplotlib a folder until this process ends, where they have none.

    Numba caches compiled code beside the libraries or in the user's cache; if neither is writable,
    importing them fails. The folder is this process's own, since it is code that is kept there.
    """
    missing = {
        name: here
        for name, here in (("NUMBA_CACHE_DIR", _numba_has_none), ("MPLCONFIGDIR", _home_is_shut))
        if name not in os.environ and here()
    }
    if missing:
        folder = tempfile.mkdtemp(prefix="moesimvae-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ.update(dict.fromkeys(missing, folder))
        if "numba" in sys.modules:  # which has read its variable already
            sys.modules["numba"].config.reload_config()


def memory_bytes() -> int:
    """Memory of this machine; where unknown, `sys.maxsize`, more than any file asks for."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize


def print_anything() -> None:
    """Escape, as \\xd7, what the terminal's encoding lacks, instead of failing on it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _cache() -> Path:
    """This user's cache folder."""
    usual = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(usual))


def _home_is_shut() -> bool:
    return _why_not_writable(_cache()) != ""


def _numba_has_none() -> bool:
    library = importlib.util.find_spec("pynndescent")
    place = library.origin if library else None
    beside = place is not None and os.access(Path(place).parent, os.W_OK)
    return not beside and _home_is_shut()


def _why_not_writable(folder: Path) -> str:
    """Why no file can be created in the folder, itself created if need be; "" if one can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


if __name__ == "__main__":
    with one_sentence():
        require_cache()
