"""A SLURM cluster of one node, this machine, from Debian's packages slurm-wlm and munge.

    sudo .venv/bin/python tests/cluster/one_node_slurm.py FOLDER COMMAND …

starts it with everything it writes in FOLDER, runs the command and takes the cluster down again. It
has no accounting and knows no user but root. Meanwhile /etc/slurm/slurm.conf leads to its
configuration: jobs that submit steps look there.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
EVERYBODY = Path("/etc/slurm/slurm.conf")
CONFIG = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
KillWait=2
OverTimeLimit=0
MinJobAge=600
SchedulerParameters=batch_sched_delay=0,sched_interval=5
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why no cluster can be started here; empty when one can."""
    lacking = [name for name in NEEDED if shutil.which(name, path=search_path()) is None]
    if lacking:
        return f"needs SLURM (Debian: slurm-wlm, munge); not found: {', '.join(lacking)}"
    if os.geteuid() != 0:
        return "needs root, as SLURM's daemons do"
    return f"would disturb the cluster of {EVERYBODY}" if EVERYBODY.exists() else ""


def search_path() -> str:
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


class OneNode:
    """The cluster, up between `with` and its end; `environment` is what its commands need.

    cpus, memory_mb: what the node says it has, whatever the machine has.
    """

    def __init__(self, folder: Path, cpus: int = 2, memory_mb: int = 60_000):
        self.folder = Path(folder).resolve()
        self.cpus, self.memory_mb = cpus, memory_mb
        self.environment = os.environ | {"PATH": search_path()}

    def __enter__(self) -> "OneNode":
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "key").mkdir(mode=0o700, exist_ok=True)
        key = self.folder / "key" / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        config = CONFIG.format(
            host=socket.gethostname().split(".")[0],
            folder=self.folder,
            cpus=self.cpus,
            memory_mb=self.memory_mb,
            ports=[free_port(), free_port()],
        )
        (self.folder / "slurm.conf").write_text(config)
        EVERYBODY.parent.mkdir(exist_ok=True)
        EVERYBODY.unlink(missing_ok=True)  # a dead link of one that was killed
        EVERYBODY.symlink_to(self.folder / "slurm.conf")
        try:
            self.start_munge()
            self.start_controller("-c")
            self.daemon("slurmd", "-c")
            self.until_idle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.call("scancel", "--user=root", check=False)
        for name in ("slurmd", "slurmctld", "munged"):
            self.stop(name)
        EVERYBODY.unlink(missing_ok=True)
        (self.folder / "slurm.conf").unlink(missing_ok=True)

    def start_munge(self) -> None:
        files = {
            "socket": "munge.socket",
            "key-file": "key/munge.key",
            "pid-file": "munged.pid",
            "log-file": "munged.log",
            "seed-file": "key/munge.seed",
        }
        # --force: the folder of a test may be open to others
        options = [f"--{option}={self.folder / file}" for option, file in files.items()]
        self.call("munged", "--force", *options)

    def start_controller(self, *options: str) -> None:
        """-c: forget what an earlier one saved."""
        self.daemon("slurmctld", *options)
        self.until(lambda: self.call("scontrol", "ping", check=False).returncode == 0)

    def restart_controller(self) -> None:
        """It ends, saving its state, and a new one goes on from there."""
        self.stop("slurmctld")
        time.sleep(5)
        self.start_controller()

    def daemon(self, name: str, *options: str) -> None:
        self.call(name, *options, "-f", str(self.folder / "slurm.conf"))

    def until_idle(self) -> None:
        """Wait for the node to take jobs."""
        states = ("idle", "mixed", "allocated")
        self.until(lambda: self.call("sinfo", "-h", "-o", "%T").stdout.strip() in states)

    def until(self, true: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            if time.monotonic() > deadline:
                log = (self.folder / "slurmctld.log").read_text()[-2000:]
                raise TimeoutError(f"SLURM is not as it should be after {seconds:g} s:\n{log}")
            time.sleep(0.2)

    def stop(self, name: str) -> None:
        """End one daemon and wait for its end."""
        try:
            pid = int((self.folder / f"{name}.pid").read_text())
            os.kill(pid, signal.SIGTERM)
        except (OSError, ValueError):
            return
        deadline = time.monotonic() + 20
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.1)

    def call(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(
            command, env=self.environment, text=True, capture_output=True, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr.strip()}")
        return done


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if missing():
        sys.exit(f"error: this {missing()}.")
    with OneNode(Path(sys.argv[1])) as cluster:
        sys.exit(subprocess.run(sys.argv[2:], env=cluster.environment, check=False).returncode)
