"""A RADOS Gateway of one test session, from Debian's packages: a monitor, an OSD in memory, all on loopback."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PACKAGES = {"radosgw": "radosgw", "ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd", "ceph": "ceph-common"}
ACCESS, SECRET = "testkey", "testsecret"

# `beast` of 16.2.15 aborts on DeleteObjects when a rule about removals matches; civetweb does not.
_CONFIG = """
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{mon}]
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
ms_bind_ipv6 = false
ms_mon_client_mode = crc
ms_bind_port_min = {low}
ms_bind_port_max = {high}
run_dir = {folder}
admin_socket = {folder}/$name.asok
log_file = {folder}/$name.log
mon_cluster_log_file = {folder}/cluster.log
crash_dir = {folder}
keyring = /dev/null
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 2
osd_pool_default_pgp_num = 2
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
[mon]
mon_data = {folder}/mon
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 1
mon_data_avail_warn = 2
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
[osd]
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 8589934592
osd_crush_initial_weight = 1
osd_max_pg_per_osd_hard_ratio = 10
[client]
rgw_data = {folder}
rgw_frontends = civetweb port=127.0.0.1:{rgw} num_threads=64 tcp_nodelay=1
rgw_enable_usage_log = false
rgw_gc_obj_min_wait = 5
"""


@dataclass(frozen=True)
class Ceph:
    """A gateway that answers."""

    endpoint: str

    @property
    def env(self) -> dict[str, str]:
        """What leads an S3 tool there."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }

    @property
    def s3(self) -> S3Client:
        return boto3.client("s3", config=Config(s3={"addressing_style": "path"}), **self._keys())

    @property
    def sns(self) -> Any:
        return boto3.client("sns", **self._keys())

    def _keys(self) -> Any:
        return {
            "endpoint_url": self.endpoint,
            "aws_access_key_id": ACCESS,
            "aws_secret_access_key": SECRET,
            "region_name": "us-east-1",
        }


def missing() -> str:
    """Which Debian packages lack; empty when all are there."""
    return " ".join(package for program, package in PACKAGES.items() if shutil.which(program) is None)


@contextmanager
def ceph(folder: Path) -> Iterator[Ceph]:
    """A gateway with nothing in it; its daemons are gone afterwards."""
    for name in ("mon", "osd"):
        (folder / name).mkdir(parents=True)
    rgw, mon = _free(), _free()
    config = folder / "ceph.conf"
    low = 20000 + os.getpid() % 100 * 100
    config.write_text(_CONFIG.format(fsid=uuid.uuid4(), folder=folder, rgw=rgw, mon=mon, low=low, high=low + 90))
    env = {**os.environ, "CEPH_CONF": str(config)}
    daemons: list[subprocess.Popen[bytes]] = []
    with (folder / "out.log").open("ab") as log:
        try:
            _start(folder, mon, env, log, daemons)
            _answers(rgw, daemons[-1], folder)
            yield Ceph(f"http://127.0.0.1:{rgw}")
        finally:
            for daemon in reversed(daemons):
                with suppress(ProcessLookupError):
                    os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()


def _start(folder: Path, mon: int, env: dict[str, str], log: IO[bytes], daemons: list[subprocess.Popen[bytes]]) -> None:
    def run(*words: str) -> None:
        subprocess.run(words, env=env, stdout=log, stderr=log, check=True, timeout=60)

    def daemon(*words: str) -> None:
        daemons.append(
            subprocess.Popen(words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        )

    fsid = next(line for line in (folder / "ceph.conf").read_text().splitlines() if line.startswith("fsid"))[7:]
    osd = str(uuid.uuid4())
    address = f"[v2:127.0.0.1:{mon}]"
    run("monmaptool", "--create", "--clobber", "--fsid", fsid, "--addv", "a", address, f"{folder}/monmap")
    run("ceph-mon", "-i", "a", "--mkfs", "--monmap", f"{folder}/monmap")
    daemon("ceph-mon", "-i", "a", "-f")
    run("ceph", "--connect-timeout", "30", "osd", "new", osd, "0")
    run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
    daemon("ceph-osd", "-i", "0", "-f")
    user = ("--uid=test", "--display-name=test", f"--access-key={ACCESS}", f"--secret-key={SECRET}")
    run("radosgw-admin", "-n", "client.admin", "user", "create", *user)
    daemon("radosgw", "-n", "client.rgw", "-f")


def _answers(port: int, gateway: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and gateway.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"radosgw did not start: {(folder / 'out.log').read_text()[-2000:]}")


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
