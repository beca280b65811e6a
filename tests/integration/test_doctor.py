"""`trapline doctor` on real stores, each with something wrong, and what it leaves behind: nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.ceph.cluster import Ceph
from tests.integration.engine import PROGRAM, Engine, environment, project
from trapline.cli.doctor import EXIT_CODES

pytestmark = pytest.mark.slow


def doctor(
    env: dict[str, str], folder: Path, bucket: str = "healthy", canary: str = "0", **more: str
) -> dict[str, tuple[str, str, str]]:
    """Level, message and remedy of each check; the exit code is that of the worst."""
    line = [*PROGRAM, "doctor", "--project", str(folder), "--bucket", bucket, "--canary", canary, "--json"]
    done = subprocess.run(line, env=environment(**env | more), capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    levels = [check["level"] for check in told["checks"]]
    assert done.returncode == EXIT_CODES[told["level"]]
    assert told["level"] == next(level for level in ("fail", "warn", "ok") if level in levels)
    return {check["check"]: (check["level"], check["message"], check["mend"]) for check in told["checks"]}


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("doctor") / "traps")


@pytest.fixture(scope="module")
def healthy(gateway: Ceph) -> Ceph:
    gateway.s3.create_bucket(Bucket="healthy")
    return gateway


def test_a_good_bucket_is_well_but_for_the_rules_it_lacks(healthy: Ceph, traps: Path) -> None:
    found = doctor(healthy.env, traps)
    assert {check for check, (level, *_) in found.items() if level != "ok"} == {"notifications"}
    assert found["notifications"][2].startswith("trapline bucket-events setup")
    assert healthy.s3.list_objects_v2(Bucket="healthy")["KeyCount"] == 0


def test_with_its_rules_nothing_is_wrong_and_it_says_who_is_told(healthy: Ceph, traps: Path) -> None:
    words = [*PROGRAM, "bucket-events", "setup", "--url", "http://127.0.0.1:9/nobody", "--project", str(traps)]
    subprocess.run([*words, "--bucket", "healthy"], env=environment(**healthy.env), check=True, capture_output=True)
    try:
        found = doctor(healthy.env, traps)
        assert {level for level, *_ in found.values()} == {"ok"}
        assert found["notifications"][1] == "The bucket tells http://127.0.0.1:9/nobody of everything that matters."
    finally:
        words = [*PROGRAM, "bucket-events", "remove", "--project", str(traps), "--bucket", "healthy"]
        subprocess.run(words, env=environment(**healthy.env), check=True, capture_output=True)


def test_rules_made_by_hand_count_for_what_they_tell(gateway: Ceph, traps: Path) -> None:
    gateway.s3.create_bucket(Bucket="by-hand")
    arn = gateway.sns.create_topic(Name="by-hand", Attributes={"push-endpoint": "http://127.0.0.1:9/x"})["TopicArn"]

    def tell(name: str, event: str, prefix: str) -> None:
        only = {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}
        rule: Any = {"Id": name, "TopicArn": arn, "Events": [event], "Filter": only}
        gateway.s3.put_bucket_notification_configuration(
            Bucket="by-hand", NotificationConfiguration={"TopicConfigurations": [rule]}
        )

    for name in ("incoming", "jobs", "labels"):
        tell(f"new-{name}", "s3:ObjectCreated:*", f"{name}/")
    tell("gone", "s3:ObjectRemoved:*", "")
    level, said, _ = doctor(gateway.env, traps, "by-hand")["notifications"]
    assert level == "warn"
    assert said.startswith("The bucket does not tell of control/requests/ (new);")
    assert said.endswith("Of the rest it tells http://127.0.0.1:9/x.")
    tell("asked", "s3:ObjectCreated:*", "control/requests/")
    assert doctor(gateway.env, traps, "by-hand")["notifications"][0] == "ok"


def test_a_canary_that_may_not_be_deleted_is_told(gateway: Ceph, traps: Path) -> None:
    gateway.s3.create_bucket(Bucket="kept")
    where = "arn:aws:s3:::kept/incoming/*"
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject", "Resource": where}
    gateway.s3.put_bucket_policy(Bucket="kept", Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]}))
    level, said, mends = doctor(gateway.env, traps, "kept", canary="0.2")["canary"]
    (left,) = gateway.s3.list_objects_v2(Bucket="kept")["Contents"]
    assert (level, repr(left["Key"]) in said) == ("warn", True)
    assert mends.startswith("Delete it")


@pytest.mark.parametrize(
    ("more", "check", "said"),
    [
        ({"AWS_PROFILE": "nope"}, "credentials", "There is no profile 'nope'"),
        ({"AWS_CA_BUNDLE": "/nope"}, "endpoint", "The CA bundle /nope cannot be read"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "credentials", "AWS_SECRET_ACCESS_KEY is not set"),
        ({"AWS_ENDPOINT_URL": "ftp://x"}, "endpoint", "The endpoint 'ftp://x' is not an address"),
    ],
)
def test_settings_that_cannot_be_are_a_finding(
    healthy: Ceph, traps: Path, more: dict[str, str], check: str, said: str
) -> None:
    ((name, (level, message, mends)),) = doctor(healthy.env, traps, **more).items()
    assert (name, level) == (check, "fail")
    assert said in message and mends


@pytest.mark.parametrize(
    ("more", "check", "mends"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "endpoint", "AWS_ENDPOINT_URL"),
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "credentials", "AWS_ACCESS_KEY_ID"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "credentials", "AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_what_keeps_it_from_the_store_is_told_alone(
    healthy: Ceph, traps: Path, more: dict[str, str], check: str, mends: str
) -> None:
    found = doctor(healthy.env, traps, **more)
    assert [(name, level) for name, (level, *_) in found.items()] == [(check, "fail")]
    assert mends in found[check][2]


def test_a_bucket_that_is_not_there_is_to_be_made(healthy: Ceph, traps: Path) -> None:
    (level, said, mends) = doctor(healthy.env, traps, "nowhere")["bucket"]
    assert level == "fail" and "no bucket 'nowhere'" in said and "aws s3 mb s3://nowhere" in mends


@pytest.mark.parametrize(
    ("action", "where", "said"),
    [
        ("s3:PutObject", "failed/*", "Cannot write failed/.doctor/"),
        ("s3:GetObject", "results/*", "Cannot read results/.doctor/"),
        ("s3:DeleteObject", "detections/*", "Cannot delete detections/.doctor/"),
    ],
)
def test_a_permission_that_lacks_is_named_with_its_prefix(
    gateway: Ceph, traps: Path, action: str, where: str, said: str
) -> None:
    name = action.lower().replace(":", "-")
    gateway.s3.create_bucket(Bucket=name)
    denied = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": f"arn:aws:s3:::{name}/{where}"}
    gateway.s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [denied]}))
    level, message, _ = doctor(gateway.env, traps, name)["permissions"]
    assert level == "fail"
    assert said in message


def test_a_versioned_bucket_is_warned_of_and_its_conditional_writes_are_probed(gateway: Ceph, traps: Path) -> None:
    gateway.s3.create_bucket(Bucket="versioned")
    gateway.s3.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    found = doctor(gateway.env, traps, "versioned")
    assert "what this command wrote and deleted" in found["versioning"][1]
    assert found["versioning"][0] == found["conditional writes"][0] == "warn"


def test_the_embedded_store_is_well_while_an_engine_serves_it(served: Engine) -> None:
    before = sorted(path for path in served.root.rglob("*") if "status" not in path.parts)
    told = json.loads(served.trapline("doctor", "--json"))
    assert {check["level"] for check in told["checks"]} == {"ok"}
    (keys,) = (check["message"] for check in told["checks"] if check["check"] == "credentials")
    assert "engine/credentials.json" in keys
    assert sorted(path for path in served.root.rglob("*") if "status" not in path.parts) == before


def test_without_an_engine_the_embedded_store_has_no_endpoint(traps: Path, tmp_path: Path) -> None:
    words = [*PROGRAM, "doctor", "--project", str(traps), "--data", str(tmp_path), "--json"]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, json.loads(done.stdout)["checks"][0]["mend"]) == (1, "trapline up, in another terminal")
