"""Which addresses are called at all: a table of attacks, none of which gets as far as a connection."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from trapline import outbound
from trapline.errors import CODES, ConfigError, Permanent, Temporary
from trapline.outbound import CALLBACK, FETCH, Outbound, is_public

PUBLIC = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "193.0.0.1", "2606:4700::1111", "2a00:1450:4001::1"]
NOT_PUBLIC = [
    *("0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.255"),
    *("168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1"),
    *("192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8"),
    *("64:ff9b::a00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::1"),
    *("2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1"),
    *("ff02::1", "", "localhost", "1.2.3"),
]
LITERALS = [  # spelled in ways that the system's own resolver understands
    *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "0"),
    *("10.0.0.1", "169.254.169.254", "2852039166", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fd00:ec2::254]", "[fe80::1]", "１２７.0.0.1", "①②⑦.0.0.1"),
]
FORMS = [
    *(
        "http://example.org/a.jpg",
        "ftp://example.org/a",
        "file:///etc/passwd",
        "gopher://example.org/",
        "//example.org/",
    ),
    *("https://user:pw@example.org/", "https://user@example.org/", "https://example.org@127.0.0.1/", "https:///a.jpg"),
    *(
        "https://",
        "https://.example.org/",
        "https://a..b/",
        "https://example.org\\@127.0.0.1/",
        "https://[::1/",
        "a.jpg",
        "",
    ),
    *("https://example.org:99999/", "https://example.org:x/", "https://exa mple.org/", "javascript:alert(1)"),
    *("https://127.0.0.1%2f@example.org/", "https://exam\nple.org/", "data:image/png;base64,AAAA"),
]


def answering(*addresses: str) -> Callable[[str, int], list[str]]:
    return lambda host, port: list(addresses)


def refused(url: str, **options: object) -> Permanent:
    options.setdefault("resolver", answering("8.8.8.8"))
    with pytest.raises(Permanent) as caught:
        Outbound(FETCH, timeout=2, **options).get(url)  # type: ignore[arg-type]
    assert caught.value.code == "fetch_refused"
    return caught.value


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_public_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_any_other_address_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("host", LITERALS)
def test_a_private_address_is_refused_however_it_is_spelled(host: str) -> None:
    refused(f"https://{host}/latest/meta-data", resolver=outbound.system_resolver)


@pytest.mark.parametrize("url", FORMS)
def test_a_url_of_any_other_form_is_refused_before_a_name_is_resolved(url: str) -> None:
    def resolver(host: str, port: int) -> list[str]:
        raise AssertionError(f"resolved {host}")

    refused(url, resolver=resolver)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1"])
def test_a_name_that_leads_to_a_private_address_is_refused(address: str) -> None:
    failure = refused("https://innocent.example.org/a.jpg?X-Amz-Signature=hunter2", resolver=answering(address))
    assert "innocent.example.org is not a public address" in failure.message
    assert "hunter2" not in str(failure)
    assert failure.remedy == CODES["fetch_refused"].remedy


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "localhost."])
def test_the_machine_itself_is_refused_by_name(name: str) -> None:
    def resolver(host: str, port: int) -> list[str]:
        assert host.rstrip(".") == "localhost"
        return ["127.0.0.1"]

    refused(f"https://{name}/", resolver=resolver)


def test_a_url_with_a_password_is_refused_without_repeating_it() -> None:
    failure = refused("https://user:hunter2@example.org/a.jpg?token=hunter3#hunter4")
    assert failure.message == "https://example.org/a.jpg carries a user name or password."


def test_a_callbacks_path_is_not_repeated_because_it_may_be_its_secret() -> None:
    with pytest.raises(Permanent) as caught:
        Outbound(CALLBACK).post("http://hooks.example.org/services/hunter2", b"", {})
    assert (caught.value.code, "hunter2" in str(caught.value)) == ("callback_refused", False)
    assert "http://hooks.example.org/" in caught.value.message


def test_a_name_that_does_not_resolve_is_tried_again() -> None:
    def resolver(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    with pytest.raises(Temporary, match="does not resolve") as caught:
        Outbound(FETCH, resolver=resolver).get("https://example.org/")
    assert caught.value.code == "fetch_failed"


def test_a_resolver_that_hangs_holds_nobody_longer_than_the_timeout() -> None:
    def resolver(host: str, port: int) -> list[str]:
        time.sleep(5)
        return []

    begun = time.monotonic()
    with pytest.raises(Temporary):
        Outbound(FETCH, timeout=0.2, resolver=resolver).get("https://example.org/")
    assert time.monotonic() - begun < 2


def test_only_the_public_ones_of_a_names_addresses_are_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def connect(address: tuple[str, int], *rest: object, **options: object) -> socket.socket:
        tried.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(Temporary):
        Outbound(FETCH, resolver=answering("10.0.0.1", "8.8.8.8", "::1", "1.1.1.1")).get("https://example.org/")
    assert tried == ["8.8.8.8", "1.1.1.1"]


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("cam.local", "http://cam.local/a.jpg"),
        ("Cam.Local", "https://CAM.local:8443/a.jpg"),
        ("cam.local:8080", "http://cam.local:8080/a.jpg"),
        ("cam.local:80", "http://cam.local/a.jpg"),
        ("::1", "http://[::1]:9000/a.jpg"),
        ("[::1]:9000", "http://[::1]:9000/a.jpg"),
        ("bücher.example", "http://bücher.example/a.jpg"),
    ],
)
def test_a_host_allowed_by_name_is_called_wherever_it_leads(
    entry: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "create_connection", _refuse)
    with pytest.raises(Temporary, match="refused"):
        Outbound(FETCH, allow=[entry], resolver=answering("127.0.0.1")).get(url)


def _refuse(*arguments: object, **options: object) -> socket.socket:
    raise ConnectionRefusedError("Connection refused")


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("cam.local:8080", "http://cam.local:8081/a.jpg"),
        ("cam.local:443", "http://cam.local/a.jpg"),
        ("cam.local", "http://cam.local.example.org/a.jpg"),
        ("cam.local", "http://x.cam.local/a.jpg"),
        ("cam.local", "http://user@cam.local/a.jpg"),
    ],
)
def test_what_is_allowed_is_that_name_and_port_alone(entry: str, url: str) -> None:
    refused(url, allow=[entry])


@pytest.mark.parametrize(
    "entry", ["", "http://cam.local", "cam.local/x", "a b", "user@cam.local", "cam.local:x", "[::1"]
)
def test_an_allow_entry_that_is_not_a_host_is_named_when_it_is_read(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"is not a host\. Expected"):
        Outbound(FETCH, allow=[entry])
