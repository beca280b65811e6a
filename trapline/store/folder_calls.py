"""The system calls under `FolderStore`: a path opened without a symlink in it, a rename that replaces nothing, and
what an `OSError` means to a person. What an object is, is `folder`'s business.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from trapline.errors import (
    Conflict,
    KeyUnusable,
    NotFound,
    StoreDenied,
    StoreUnavailable,
    SurroundingsError,
    TraplineError,
)

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RENAME_NOREPLACE = 1  # linux/fs.h
_AT_FDCWD = -100
_BLOCKED = frozenset((errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.EMLINK))  # a file or a symlink is in the way
# Linux only; elsewhere, and with an old C library, `rename_new` does without.
_renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
_DENIED = frozenset((errno.EACCES, errno.EPERM, errno.EROFS))


@contextmanager
def opened_folder(root: Path, segments: Sequence[str], *, create: bool = False) -> Iterator[int]:
    """A descriptor of a folder under `root`; no segment may be a symlink. `create` makes what is missing."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for segment in segments:
            child = _enter(descriptor, segment, create)
            os.close(descriptor)
            descriptor = child
        yield descriptor
    finally:
        os.close(descriptor)


def enter(parent: int, name: str) -> int:
    """A descriptor of a folder directly in `parent`, never through a symlink. The caller closes it."""
    return os.open(name, _FOLDER, dir_fd=parent)


def rename_new(source: str, name: str, folder: int) -> None:
    """Move a file to `name` in `folder`; raises `FileExistsError` if anything is there."""
    if _renameat2 is not None:
        if _renameat2(_AT_FDCWD, os.fsencode(source), folder, os.fsencode(name), _RENAME_NOREPLACE) == 0:
            return
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(code, os.strerror(code), name)
    os.link(source, name, dst_dir_fd=folder)
    os.unlink(source)


@contextmanager
def refusals(key: str, root: Path, *, writing: bool = False) -> Iterator[None]:
    """Turns an `OSError` into what it means for the object `key`."""
    try:
        yield
    except OSError as error:
        raise _meaning(error, key, root, writing) from error


def _enter(parent: int, name: str, create: bool) -> int:
    try:
        return enter(parent, name)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    return enter(parent, name)


def _meaning(error: OSError, key: str, root: Path, writing: bool) -> TraplineError:
    code = error.errno or 0
    if code in _FULL:
        return SurroundingsError(
            f"The disk of {root} is full.", remedy="Free some space; the engine goes on by itself."
        )
    if code in _DENIED:
        return _denied(code, root, writing)
    if code == errno.EXDEV:
        return SurroundingsError(
            f"The bucket {root} and the folder for unfinished writes are on different file systems.",
            remedy="Keep both on one file system.",
        )
    if code == errno.ENAMETOOLONG:
        return KeyUnusable(f"The key {key!r} is too long for this file system.", remedy="Shorten its names.")
    if writing:
        return _write_failed(error, code, key, root)
    if code == errno.ENOENT or code in _BLOCKED:
        return NotFound(key)
    return StoreUnavailable(f"The folder {root} failed at {key!r}: {error.strerror}.")


def _write_failed(error: OSError, code: int, key: str, root: Path) -> TraplineError:
    if code == errno.EEXIST:
        return Conflict(f"There is already an object {key!r}.")
    if code in _BLOCKED:
        return KeyUnusable(
            f"A folder cannot hold {key!r}: a part of it is a file where a folder is needed, a folder, or a symlink.",
            remedy="Rename one of the two.",
        )
    return StoreUnavailable(f"The folder {root} failed at {key!r}: {error.strerror}.")


def _denied(code: int, root: Path, writing: bool) -> StoreDenied:
    if code == errno.EROFS:
        return StoreDenied(f"The folder {root} is read-only.", remedy="Mount it writable, or choose another folder.")
    verb = "write in" if writing else "read"
    return StoreDenied(
        f"This user may not {verb} the folder {root}.",
        remedy="Give the user that runs Trapline read and write permission on it and all it holds.",
    )
