"""What S3Store does where a store lists odd keys, refuses, or is not there."""

import socket
import time

import pytest

from tests.integration.s3_listing import listing_server
from trapline.errors import ConfigError, StoreUnavailable
from trapline.store.open import open_store, settings_from
from trapline.store.s3 import S3Settings, S3Store

KEYS = {
    "in/": 0,
    "in/a.jpg": 1,
    "in/b//c.jpg": 2,
    "in/d/./e.jpg": 3,
    "in/f/": 0,
    "in/f/empty.jpg": 0,
    "in/f/g.jpg": 4,
    "in/h//i.jpg": 5,
    "in/j.jpg": 6,
    "in/k.jpg": 7,
    "in/l m+n.jpg": 8,
    "zz.jpg": 9,
}


def at(endpoint: str, root: str = "") -> S3Store:
    return S3Store(S3Settings("bucket", endpoint=endpoint, access_key="access", secret_key="secret", root=root))


@pytest.mark.parametrize("root", ["", "in/"])
def test_a_key_that_obstore_refuses_does_not_stop_a_listing(root: str) -> None:
    with listing_server(KEYS) as endpoint:
        found = list(at(endpoint, root).list("" if root else "in/"))
    prefix = "" if root else "in/"
    names = [f"{prefix}{key.removeprefix('in/')}" for key in KEYS if key.startswith("in/") and key != "in/"]
    assert sorted(entry.key for entry in found if not entry.key.endswith("in/")) == sorted(names)
    unusable = {entry.key.removeprefix("in/") for entry in found if not entry.usable}
    assert {"b//c.jpg", "d/./e.jpg", "f/", "h//i.jpg"} == unusable - {""}
    assert next(entry.size for entry in found if entry.key.endswith("l m+n.jpg")) == 8


def test_a_level_with_odd_folders_names_them_as_unusable() -> None:
    with listing_server(KEYS | {"in//x.jpg": 1}) as endpoint:
        level = at(endpoint).level("in/")
    assert level.folders == ["in/b/", "in/d/", "in/f/", "in/h/"]
    assert [entry.key for entry in level.entries if entry.usable] == [
        "in/a.jpg",
        "in/j.jpg",
        "in/k.jpg",
        "in/l m+n.jpg",
    ]
    assert [entry.key for entry in level.entries if not entry.usable] == ["in//"]


def test_a_prefix_that_is_no_whole_folder_is_listed_as_s3_does() -> None:
    with listing_server(KEYS) as endpoint:
        assert [entry.key for entry in at(endpoint).list("in/f/g")] == ["in/f/g.jpg"]


def test_a_store_that_is_not_there_is_unavailable_within_seconds() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"cannot be reached.*AWS_ENDPOINT_URL"):
        at(f"http://127.0.0.1:{port}").get("a.jpg")
    assert time.monotonic() - began < 15


def test_settings_come_from_the_variables_that_s3_tools_share() -> None:
    settings = settings_from(
        "traps",
        {
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9900",
            "AWS_ACCESS_KEY_ID": "access",
            "AWS_SECRET_ACCESS_KEY": "hush",
            "AWS_REGION": "eu-west-1",
        },
    )
    assert (settings.endpoint, settings.region, settings.path_style) == ("http://127.0.0.1:9900", "eu-west-1", True)
    assert "hush" not in repr(settings)
    assert open_store(settings).describe() == "s3://traps/ at http://127.0.0.1:9900"
    assert settings_from("traps", {}, endpoint="https://s3.eu-west-1.amazonaws.com").path_style is False


def test_half_a_key_or_a_wrong_address_is_told_before_anything_is_asked() -> None:
    with pytest.raises(ConfigError, match="AWS_SECRET_ACCESS_KEY is not set"):
        settings_from("traps", {"AWS_ACCESS_KEY_ID": "access"})
    with pytest.raises(ConfigError, match="'localhost:9900' is not an address"):
        settings_from("traps", {"AWS_ENDPOINT_URL": "localhost:9900"})
