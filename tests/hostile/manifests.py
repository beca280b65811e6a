"""Attacks on manifests: what is wrong with them as documents, and what they try to make the engine read or call."""

from __future__ import annotations

import json
from typing import Any

ONE = {"id": "a", "url": "incoming/attack/pool/a.jpg"}
TOKEN = "token-of-another-job"
MIB = 2**20


def manifest(**fields: Any) -> bytes:
    return json.dumps({"sourceImages": [ONE], **fields}).encode()


def images(*listed: Any) -> bytes:
    return json.dumps({"sourceImages": list(listed)}).encode()


def _nested(depth: int, opened: bytes, closed: bytes) -> bytes:
    return manifest(deployment={"x": 0}).replace(b": 0}", b": " + opened * depth + b"0" + closed * depth + b"}")


def _callback(**fields: Any) -> bytes:
    return manifest(callback={"callbackUrl": "https://example.org/", **fields})


def _stage(**fields: Any) -> bytes:
    return manifest(pipelineConfig={"stages": [{"stage": "OBJECT_DETECTION", **fields}]})


# The row of docs/reference/hostile-inputs.md → by name, the document and what the refusal says.
REFUSED: dict[str, dict[str, tuple[bytes, str]]] = {
    "not JSON, or not an object": {
        "nothing": (b"", "is not a job manifest"),
        "text": (b"hello", "is not a job manifest"),
        "cut": (manifest()[:-9], "is not a job manifest"),
        "bytes": (b"\xff\xfe\xfd\xfc", "is not a job manifest"),
        "list": (b"[]", "is not a job manifest"),
        "number": (b"7", "is not a job manifest"),
        "null": (b"null", "is not a job manifest"),
        "string": (b'"sourceImages"', "is not a job manifest"),
        "two": (manifest() * 2, "is not a job manifest"),
        "yaml": (b"sourceImages: [{id: a, url: b}]", "is not a job manifest"),
    },
    "a secret that cannot sign": {
        "secret": (manifest(callback={"callbackUrl": "https://x", "callbackToken": "whsec_%%%"}), "is not base64"),
    },
    "nested deeply": {
        "deep-lists": (_nested(100_000, b"[", b"]"), "nested"),
        "deep-objects": (_nested(100_000, b'{"a":', b"}"), "nested"),
        "deep-little": (_nested(300, b"[", b"]"), "nested more than 32 deep"),
        "deep-in-image": (images({**ONE, "more": json.loads("[" * 40 + "]" * 40)}), "nested more than 32 deep"),
    },
    "numbers and letters that cannot be written again": {
        "nan": (manifest(deployment={"latitude": float("nan")}), "nan is not a number"),
        "infinite": (manifest(deployment={"latitude": 1}).replace(b": 1}", b": 1e999}"), "inf is not a number"),
        "digits": (manifest(priority=1).replace(b": 1}", b": " + b"9" * 5000 + b"}"), "is not a job manifest"),
        "half-a-letter": (images({"id": "\ud800", "url": "incoming/attack/pool/a.jpg"}), "half a character"),
        "half-a-key": (manifest(**{"\udfff": 1}), "half a character"),
    },
    "no images, or images that are none": {
        "no-images": (b"{}", "sourceImages"),
        "empty-images": (images(), "sourceImages"),
        "images-null": (b'{"sourceImages": null}', "sourceImages"),
        "images-text": (b'{"sourceImages": "abc"}', "sourceImages"),
        "images-object": (b'{"sourceImages": {"id": "a", "url": "b"}}', "sourceImages"),
        "image-text": (images("incoming/a.jpg"), "sourceImages.0"),
        "image-null": (images(ONE, None), "sourceImages.1"),
        "no-id": (images({"url": "b"}), "sourceImages.0.id"),
        "no-url": (images({"id": "a"}), "sourceImages.0.url"),
        "id-empty": (images({**ONE, "id": ""}), "sourceImages.0.id"),
        "id-513": (images({**ONE, "id": "x" * 513}), "at most 512"),
        "id-800": (images({**ONE, "id": "ü" * 800}), "at most 512"),
        "id-number": (images({**ONE, "id": 7}), "sourceImages.0.id"),
        "url-empty": (images({**ONE, "url": ""}), "sourceImages.0.url"),
        "url-5000": (images({**ONE, "url": "https://example.org/" + "x" * 5000}), "at most 4096"),
        "url-list": (images({**ONE, "url": [ONE["url"]]}), "sourceImages.0.url"),
        "event-long": (images({**ONE, "eventId": "x" * 513}), "sourceImages.0.eventId"),
    },
    "fields of the wrong type, or out of bounds": {
        "priority-text": (manifest(priority="high"), "priority"),
        "priority-high": (manifest(priority=1001), "priority"),
        "priority-low": (manifest(priority=-(10**30)), "priority"),
        "priority-broken": (manifest(priority=1.5), "priority"),
        "deadline-text": (manifest(deadline="tomorrow"), "deadline"),
        "deadline-past": (manifest(deadline="-PT1H"), "deadline"),
        "deadline-none": (manifest(deadline="PT0S"), "deadline"),
        "deadline-far": (manifest(deadline="P999999999D"), "deadline"),
        "deadline-huge": (manifest(deadline=1e300), "deadline"),
        "project-long": (manifest(projectId="x" * MIB), "projectId"),
        "job-object": (manifest(jobId={"a": 1}), "jobId"),
        "deployment-list": (manifest(deployment=[1]), "deployment"),
        "stages-text": (manifest(pipelineConfig={"stages": "detect"}), "pipelineConfig"),
        "config-list": (manifest(pipelineConfig=[]), "pipelineConfig"),
    },
    "a stage, function or parameter that the pipeline does not have": {
        "stage-unknown": (manifest(pipelineConfig={"stages": [{"stage": "<script>"}]}), "<script>"),
        "function-other": (_stage(stageImplementation="compile"), "compile"),
        "function-path": (_stage(stageImplementation="../../x"), "../../x"),
        "parameter-unknown": (_stage(parameters={"__class__": 1}), "no parameter '__class__'"),
        "parameter-type": (_stage(parameters={"threshold": "0.5"}), "threshold"),
        "parameter-range": (_stage(parameters={"threshold": 7}), "maximum of 1"),
    },
    "a callback that is none": {
        "callback-text": (manifest(callback="https://example.org/"), "callback"),
        "callback-empty": (manifest(callback={}), "callback.callbackUrl"),
        "callback-long": (_callback(callbackUrl="https://example.org/" + "x" * 5000), "callback.callbackUrl"),
        "token-long": (_callback(callbackToken="x" * MIB), "callback.callbackToken"),
        "token-number": (_callback(callbackToken=7), "callback.callbackToken"),
        "event": (_callback(on=["everything"]), "callback.on"),
        "form": (_callback(format="xml"), "callback.format"),
        "links-for-ever": (_callback(links="P8D"), "callback.links"),
    },
}

# The row → the code, and the addresses. `{port}` is a server on this machine that must never be asked.
URLS: dict[str, tuple[str, tuple[str, ...]]] = {
    "an address of a private network, of this machine or of a cloud's metadata, however it is spelled": (
        "fetch_refused",
        (
            *("https://127.0.0.1:{port}/a.jpg", "https://localhost:{port}/a.jpg", "https://LOCALHOST:{port}/a.jpg"),
            *("https://127.1:{port}/", "https://2130706433:{port}/", "https://0x7f000001:{port}/", "https://0:{port}/"),
            *("https://0177.0.0.1:{port}/", "https://0x7f.1:{port}/", "https://[::1]:{port}/", "https://[::]:{port}/"),
            *("https://[::ffff:127.0.0.1]:{port}/", "https://[::ffff:7f00:1]:{port}/", "https://[64:ff9b::7f00:1]/"),
            *("https://[2002:7f00:1::]:{port}/", "https://[fe80::1%25lo]:{port}/", "https://[::127.0.0.1]:{port}/"),
            *("https://１２７.0.0.1:{port}/", "https://①②⑦.0.0.1:{port}/", "https://127。0。0。1:{port}/"),
            *(
                "https://10.0.0.1/",
                "https://172.16.0.1/",
                "https://192.168.0.1/",
                "https://100.64.0.1/",
                "https://0.0.0.0/",
            ),
            *("https://169.254.169.254/latest/meta-data/", "https://[fd00:ec2::254]/latest", "https://168.63.129.16/"),
        ),
    ),
    "an address of another form": (
        "fetch_refused",
        (
            *(
                "http://127.0.0.1:{port}/a.jpg",
                "http://example.org/a.jpg",
                "HTTP://example.org/",
                "ftp://example.org/a",
            ),
            *("file:///etc/passwd", "file://localhost/etc/passwd", "gopher://127.0.0.1:{port}/_GET", "ldap://x/"),
            *("https://user:secret@example.org/a.jpg", "https://example.org@127.0.0.1:{port}/", "https:///a.jpg"),
            *("s3://AKIA:secret@bucket/a.jpg", "s3://AKIA:a/secret@bucket/a.jpg", "s3://AKIA:secret?x@bucket/a.jpg"),
            *("host.example/a.jpg?X-Amz-Signature=secret", "https:/host.example/a.jpg?X-Amz-Signature=secret"),
            *("//user:secret@host.example/a.jpg", "//host.example/a.jpg?sig=secret", "user:secret@host.example/a.jpg"),
            *("host.example/a.jpg%3Fsig=secret", "host.example/a.jpg#secret", "jobs/x.json?sig=a@secret"),
            *("incoming//x.jpg?sig=secret", "incoming/x.jpg/../?sig=secret", "S3://AKIA:secret@bucket/a.jpg"),
            *("https://example.org\\@127.0.0.1:{port}/", "https://example.org#@127.0.0.1:{port}\\/", "https://"),
            *(
                "https://127.0.0.1:{port}\r\nHost: x\r\n\r\n/",
                "https://exa mple.org/",
                "https://[::1",
                "https://x:99999/",
            ),
            *("data:image/png;base64,AAAA", "javascript:alert(1)", "//127.0.0.1:{port}/a.jpg", "https:127.0.0.1"),
            *("blob://x", "unix:///run/x.sock", "jar:https://x!/", "\\\\127.0.0.1\\share", "dict://127.0.0.1:{port}/d"),
        ),
    ),
    "another bucket": (
        "fetch_refused",
        (
            "s3://other/a.jpg",
            "s3://../x",
            "s3:///a",
            "s3://",
            "S3://traps/incoming/a.jpg",
            "s3://traps.example/a",
            "s3://trap/a",
        ),
    ),
    "another job's manifest and token, or any other object of the pipeline's own": (
        "fetch_refused",
        (
            *("jobs/attack/victim.json", "s3://traps/jobs/attack/victim.json", "s3://TRAPS/jobs/attack/victim.json"),
            *("/jobs/attack/victim.json", "./jobs/attack/victim.json", "incoming/../jobs/attack/victim.json"),
            *("s3://traps//jobs/attack/victim.json", "s3://traps/incoming/../jobs/attack/victim.json"),
            *(
                "incoming/./../jobs/attack/victim.json",
                "incoming//../jobs/attack/victim.json",
                "jobs\\attack\\victim.json",
            ),
            *("%6aobs/attack/victim.json", "s3://traps/%6aobs/attack/victim.json", "control/engine.json"),
            *("models/moth-detector/current", "status/attack/victim.json", "results/attack/victim/summary.json"),
            *("../../../etc/passwd", "/etc/passwd", "incoming/../../../../etc/passwd", "quarantine/x", "failed/x"),
        ),
    ),
    "a name with escapes that nobody undoes, or a link that leads out of the bucket": (
        "fetch_not_found",
        (
            *("incoming/%2e%2e/jobs/attack/victim.json", "incoming/..%2fjobs/attack/victim.json"),
            *(
                "incoming/attack/links/passwd.jpg",
                "incoming/attack/links/folder/passwd",
                "incoming/attack/pool/none.jpg",
            ),
            *("incoming/..\\jobs\\attack\\victim.json", "s3://traps/incoming/attack/links/passwd.jpg"),
        ),
    ),
    "a key that no store can hold": (
        "fetch_refused",
        (
            "incoming/a\u0000.jpg",
            "incoming//a.jpg",
            "incoming/",
            "incoming/a/",
            "incoming/a\nb.jpg",
            "incoming/" + "n" * 300 + ".jpg",
        ),
    ),
}

# The row → by name, the callback and the code of the dead letter of `notify`.
CALLBACKS: dict[str, tuple[str, dict[str, dict[str, str]]]] = {
    "a callback to a private address, or of another form": (
        "callback_refused",
        {
            "loopback": {"callbackUrl": "https://127.0.0.1:{port}/"},
            "metadata": {"callbackUrl": "https://169.254.169.254/latest"},
            "mapped": {"callbackUrl": "https://[::ffff:127.0.0.1]:{port}/"},
            "plain": {"callbackUrl": "http://example.org/"},
            "file": {"callbackUrl": "file:///etc/passwd"},
            "mail": {"callbackUrl": "mailto://127.0.0.1:{port}/?to=all@example.org"},
            "json": {"callbackUrl": "json://127.0.0.1:{port}/"},
            "variable": {"callbackUrl": "${AWS_SECRET_ACCESS_KEY}"},
            "user": {"callbackUrl": "https://user:secret@127.0.0.1:{port}/"},
            "lines": {"callbackUrl": "https://127.0.0.1:{port}/\r\nX-Evil: 1"},
        },
    ),
    "a token that would add a header": (
        "callback_failed",
        {
            "header": {"callbackUrl": "https://127.0.0.1:{port}/", "callbackToken": "a\r\nX-Evil: 1"},
            "letters": {"callbackUrl": "https://127.0.0.1:{port}/", "callbackToken": "töken"},
        },
    ),
}


def urls() -> dict[str, str]:
    """Every address and the code it fails with."""
    return {url: code for code, several in URLS.values() for url in several}
