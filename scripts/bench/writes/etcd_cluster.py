"""Three etcd processes on this machine, with etcd's own defaults."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from contextlib import suppress
from pathlib import Path

from jepsen_like.cluster import DriverError, wait_until
from jepsen_like.ports import Ports
from raftcache.supervisor.cluster import PORTS_PER_NODE

NODES = 3
PROGRAM = "etcd"
STOP_PATIENCE_S = 10.0
HTTP_TIMEOUT_S = 2.0


def installed() -> bool:
    """Whether there is an etcd here."""
    return shutil.which(PROGRAM) is not None


def version() -> str:
    """What it calls itself."""
    answer = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.splitlines()[0].rpartition(" ")[2]


class EtcdCluster:
    """`with EtcdCluster(folder) as etcd`: up and led inside, gone afterwards; the folder stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = Ports(NODES)
        bases = [self._ports.base + PORTS_PER_NODE * number for number in range(NODES)]
        self.clients = [f"127.0.0.1:{base}" for base in bases]
        self._peers = [f"http://127.0.0.1:{base + 1}" for base in bases]
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> EtcdCluster:
        try:
            self._folder.mkdir(parents=True)
            for number in range(NODES):
                self._processes.append(self._start(number))
            wait_until(self._led, "etcd to have a leader", self._processes[0], self._folder)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(STOP_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._ports.close()

    @property
    def pids(self) -> tuple[int, ...]:
        """The three processes."""
        return tuple(process.pid for process in self._processes)

    def leader(self) -> str:
        """The leader's `host:port`. Raises DriverError."""
        for address in self.clients:
            if "\netcd_server_is_leader 1\n" in _metrics(address):
                return address
        raise DriverError("etcd has no leader")

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        members = ",".join(f"e{each}={peer}" for each, peer in enumerate(self._peers))
        command = [PROGRAM, "--name", f"e{number}", "--data-dir", str(self._folder / f"e{number}")]
        for field in ("listen-client-urls", "advertise-client-urls"):
            command += [f"--{field}", f"http://{self.clients[number]}"]
        for field in ("listen-peer-urls", "initial-advertise-peer-urls"):
            command += [f"--{field}", self._peers[number]]
        command += ["--initial-cluster", members, "--logger", "zap", "--log-level", "error"]
        with open(self._folder / f"e{number}.log", "ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _led(self) -> bool:
        seen = [_metrics(address) for address in self.clients]
        return all("\netcd_server_has_leader 1\n" in text for text in seen)


def _metrics(address: str) -> str:
    with suppress(OSError), urllib.request.urlopen(f"http://{address}/metrics", timeout=HTTP_TIMEOUT_S) as answer:
        return str(answer.read().decode())
    return ""
