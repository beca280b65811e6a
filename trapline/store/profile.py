"""What AWS' own files say of a profile beside its keys: region, CA bundle, addressing. The keys are `keys_boto`'s."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trapline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Profile:
    """The settings of one profile; empty where it says nothing."""

    region: str = ""
    ca_bundle: str = ""  # a PEM file
    addressing: str = ""  # `s3 = addressing_style`: path, virtual, auto


def files(environment: Mapping[str, str]) -> tuple[Path, Path]:
    """The config file and the credentials file, whether they are there or not."""
    config = environment.get("AWS_CONFIG_FILE") or "~/.aws/config"
    keys = environment.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    return Path(config).expanduser(), Path(keys).expanduser()


def profile_name(environment: Mapping[str, str]) -> str | None:
    """The profile that is asked for; None: the one called `default`, if there is one."""
    return environment.get("AWS_DEFAULT_PROFILE") or environment.get("AWS_PROFILE") or None  # boto3's own order


def read_profile(environment: Mapping[str, str]) -> Profile:
    """The profile's settings. Raises `ConfigError` where it was asked for and is in neither file."""
    asked = profile_name(environment)
    config, keys = files(environment)
    if not (asked or config.is_file() or keys.is_file()):
        return Profile()
    profiles = _profiles(config, keys)
    if asked and asked not in profiles:
        raise no_profile(asked, profiles, environment)
    found = profiles.get(asked or "default", {})
    nested = found.get("s3")
    addressing = nested.get("addressing_style", "") if isinstance(nested, dict) else ""
    return Profile(found.get("region", ""), found.get("ca_bundle", ""), addressing)


def no_profile(asked: str, profiles: Iterable[str], environment: Mapping[str, str]) -> ConfigError:
    """The error for a profile that is not there."""
    known = ", ".join(sorted(profiles)) or "there is none"
    return ConfigError(
        f"There is no profile {asked!r} in {' or '.join(map(str, files(environment)))}.",
        remedy=f"Name one that is there ({known}), in AWS_PROFILE or where this one is named.",
    )


def _profiles(config: Path, keys: Path) -> dict[str, dict[str, Any]]:
    loader = importlib.import_module("botocore.configloader")  # most starts find no file, and need none of it
    found: dict[str, dict[str, Any]] = _parsed(loader, config, loader.load_config).get("profiles", {})
    for name, values in _parsed(loader, keys, loader.raw_config_parse).items():
        found[name] = {**found.get(name, {}), **values}
    return found


def _parsed(loader: Any, path: Path, parse: Any) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        parsed: dict[str, Any] = parse(str(path))
    except loader.botocore.exceptions.ConfigParseError:
        raise ConfigError(
            f"{path} cannot be read: it is not made of [sections] with lines `key = value`.", remedy="Mend that file."
        ) from None
    return parsed
