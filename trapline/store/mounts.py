"""Which file system a folder lies on, as far as it matters: whether another machine may write there unnoticed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")

# What another machine, a host or a program of its own writes there did not go through this kernel, which tells nothing.
_NETWORK = {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fuse", "glusterfs", "gpfs", "lustre", "ncpfs"}
_NETWORK |= {"nfs", "nfs4", "orangefs", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs"}


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system."""

    point: str  # the folder it is mounted at
    kind: str  # such as nfs4


def network_mount(folder: Path, mounts: Path = MOUNTS) -> Mount | None:
    """The network file system on which a folder or something in it lies; None where there is none, or nobody tells."""
    path = os.path.realpath(folder)
    found = _mounted(mounts)
    holding = max((one for one in found if _within(path, one.point)), key=lambda one: len(one.point), default=None)
    inside = [one for one in found if _within(one.point, path)]
    return next((one for one in [holding, *inside] if one and _is_network(one.kind)), None)


def _mounted(mounts: Path) -> list[Mount]:
    try:
        lines = os.fsdecode(mounts.read_bytes()).split("\n")
    except OSError:
        return []
    fields = [line.split(" ") for line in lines]
    last = {_plain(field[1]): field[2] for field in fields if len(field) > 2}  # the later hides the earlier
    return [Mount(point, kind) for point, kind in last.items()]


def _is_network(kind: str) -> bool:
    return kind in _NETWORK or kind.startswith("fuse.")


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _plain(text: str) -> str:
    """A space is written `\\040` there, and a backslash `\\134`."""
    return re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), text)
