"""One workflow at a time in a results folder, without leftover jobs of a killed one."""

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
# open files: the system releases their locks when this process ends, however it ends
_HELD: list[IO[str]] = []


def hold(folder: Path) -> None:
    """Keep other workflows out of the folder until this process ends.

    Raises UserError when another one uses it, or when nothing can be written there. On file
    systems without locks it has no effect.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".workflow", "a+", encoding="utf-8")  # noqa: SIM115 - stays open
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}; make it writable, or give another "
            "folder: --config results=FOLDER."
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{_who(folder)}; wait for it to finish, or give this one another folder: "
            "--config results=FOLDER."
        ) from None
    except OSError:
        return
    file.truncate(0)
    now = datetime.datetime.now().astimezone().isoformat(" ", "minutes")
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
    with contextlib.suppress(OSError):  # a full disk: the line only tells others who it is
        file.flush()
    _HELD.append(file)


def check_free(folder: Path) -> None:
    """Raise UserError when a workflow is running in the folder."""
    with contextlib.suppress(FileNotFoundError), open(Path(folder) / ".workflow") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{_who(folder)}; wait for it to finish.") from None
        except OSError:
            return


def _who(folder: Path) -> str:
    who = (Path(folder) / ".workflow").read_text(encoding="utf-8").strip()
    return f"another workflow is running in {folder}" + (f" ({who})" if who else "")


def end_jobs_of_killed(folder: Path) -> int:
    """Kill a killed workflow's remaining jobs for the folder on this machine; return how many.

    To be called by the holder of the folder. Processes of other users are left alone.
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
    """Shift modification times in the future, as set by a fast clock, back to now; return how many.

    They keep their order. With such files among its inputs, every job would count as out of date.
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
    """The environment variable by which jobs that write into the folder are recognised."""
    return {MARK: os.path.realpath(folder)}
