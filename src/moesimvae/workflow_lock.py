"""One workflow at a time in a results folder, and none of a killed one's jobs beside it."""

import contextlib
import datetime
import fcntl
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import psutil

from moesimvae.errors import UserError

MARK = "MOESIMVAE_WORKFLOW"  # environment variable of every job: the folder it writes into
# open files: the system lets go of their locks when this process ends, however it ends
_HELD: list[IO[str]] = []


def hold(folder: Path) -> None:
    """Keep other workflows out of the folder until this process ends.

    Raises UserError when another one is in it, or when nothing can be written there. On file
    systems without locks it does nothing.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".workflow", "a+", encoding="utf-8")  # noqa: SIM115 - stays open
    except OSError as error:
        raise UserError(
            f"cannot write into {folder}: {error.strerror}; make it writable, or give another "
            "folder: --config results=FOLDER."
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{_who(folder)}; wait for its end, or give this one another folder: "
            "--config results=FOLDER."
        ) from None
    except OSError:
        return
    file.truncate(0)
    now = datetime.datetime.now().astimezone().isoformat(" ", "minutes")
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
    with contextlib.suppress(OSError):  # a full disk: who it is, is only told to others
        file.flush()
    _HELD.append(file)


def check_free(folder: Path) -> None:
    """Raise UserError when a workflow is at work in the folder."""
    with contextlib.suppress(FileNotFoundError), open(Path(folder) / ".workflow") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{_who(folder)}; wait for its end.") from None
        except OSError:
            return


def _who(folder: Path) -> str:
    who = (Path(folder) / ".workflow").read_text(encoding="utf-8").strip()
    return f"another workflow is at work in {folder}" + (f" ({who})" if who else "")


def end_jobs_of_killed(folder: Path) -> int:
    """Kill what a killed workflow left running on this machine for the folder; how many there were.

    To be called by who holds the folder. Processes of other users are let alone.
    """
    mark = marked(folder)[MARK]
    own = psutil.Process()
    mine = {own.pid, *(process.pid for process in own.parents() + own.children(recursive=True))}
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in mine and process.environ().get(MARK) == mark:
                process.kill()
                left.append(process)
    psutil.wait_procs(left, timeout=10)
    return len(left)


def date_back(folders: Iterable[Path]) -> int:
    """Give files from the future, as a clock leaves them that was ahead, times up to now.

    They keep their order. With such files among its inputs, every job would count as out of date.
    How many there were.
    """
    now = time.time()
    ahead = {}
    for root, _, names in (entry for folder in folders for entry in os.walk(folder)):
        for path in (os.path.join(root, name) for name in names):
            with contextlib.suppress(OSError):
                changed = os.lstat(path).st_mtime
                if changed > now + 1:
                    ahead[path] = changed
    shift = max(ahead.values(), default=now) - now
    for path, changed in ahead.items():
        with contextlib.suppress(OSError):
            os.utime(path, (changed - shift, changed - shift))
    return len(ahead)


def marked(folder: Path) -> dict[str, str]:
    """The environment variable by which jobs that write into the folder are known."""
    return {MARK: os.path.realpath(folder)}
