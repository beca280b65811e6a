"""The embedded endpoint's access key and secret: made at first use, kept in the data folder for its owner alone."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from trapline.errors import SurroundingsError
from trapline.store.folder_calls import rename_new


@dataclass(frozen=True)
class Credentials:
    """What a client signs its requests with."""

    access_key: str
    secret_key: str = field(repr=False)


def credentials(path: Path) -> Credentials:
    """The credentials kept in `path`, made now if there are none."""
    try:
        return _read(path)
    except FileNotFoundError:
        _create(path)
        return _read(path)


def _read(path: Path) -> Credentials:
    try:
        fields = json.loads(path.read_text())
        return Credentials(str(fields["access_key"]), str(fields["secret_key"]))
    except (ValueError, KeyError, TypeError) as error:
        raise SurroundingsError(
            f"{path} does not hold the endpoint's `access_key` and `secret_key`.",
            remedy="Mend it, or delete it: new ones are made, and clients must be told them.",
        ) from error
    except PermissionError as error:
        raise SurroundingsError(f"This user may not read {path}.", remedy="Run as the user that owns it.") from error


def _create(path: Path) -> None:
    """Two processes that start together end with the same credentials."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = {"access_key": f"trapline{secrets.token_hex(6)}", "secret_key": secrets.token_hex(20)}
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(made, file)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        rename_new(str(temporary), path.name, folder)
    except FileExistsError:
        temporary.unlink()
    finally:
        os.close(folder)
