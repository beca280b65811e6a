"""`trapline bucket-events` against real stores: what is configured, what others had, what is left."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ceph.cluster import Ceph
from tests.integration.engine import PROGRAM, environment, project
from trapline.embedded.rclone import Rclone
from trapline.keys import Layout
from trapline.store.notifications import wanted

pytestmark = pytest.mark.slow

OTHERS: Any = {
    "Id": "backup of everything",
    "Events": ["s3:ObjectCreated:*"],
    "Filter": {"Key": {"FilterRules": [{"Name": "suffix", "Value": ".JPG"}]}},
}
RELATED: Any = {"Id": "trapline-moth-traps-too-incoming", "Events": ["s3:ObjectRemoved:Delete"]}
OWN = {rule.id for rule in wanted("moth-traps", Layout(), "")}
NEW = [
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Post",
    "s3:ObjectCreated:Copy",
    "s3:ObjectCreated:CompleteMultipartUpload",
]
GONE = ["s3:ObjectRemoved:Delete", "s3:ObjectRemoved:DeleteMarkerCreated"]


class Bucket:
    """A bucket of the gateway with rules of others, and the command on it."""

    def __init__(self, gateway: Ceph, folder: Path, name: str) -> None:
        self.gateway, self.folder, self.name = gateway, folder, name
        self.s3 = gateway.s3
        self.s3.create_bucket(Bucket=name)

    def run(self, *words: str, rc: int = 0) -> Any:
        done = _run(self.gateway.env, self.folder, self.name, *words)
        assert done.returncode == rc, done.stdout + done.stderr
        return json.loads(done.stdout) if rc == 0 else done.stderr

    def tell(self, *rules: Any) -> str:
        arn = str(
            self.gateway.sns.create_topic(Name="somebody", Attributes={"push-endpoint": "http://127.0.0.1:9"})[
                "TopicArn"
            ]
        )
        told: Any = {"TopicConfigurations": [{**rule, "TopicArn": arn} for rule in rules]}
        self.s3.put_bucket_notification_configuration(Bucket=self.name, NotificationConfiguration=told)
        return arn

    def rules(self) -> dict[str, Any]:
        found: Any = self.s3.get_bucket_notification_configuration(Bucket=self.name)
        return {rule["Id"]: rule for rule in found.get("TopicConfigurations", ())}

    def topics(self) -> dict[str, Any]:
        sns = self.gateway.sns
        arns = [topic["TopicArn"] for topic in sns.list_topics().get("Topics", ())]
        return {arn.rpartition(":")[2]: sns.get_topic_attributes(TopicArn=arn)["Attributes"] for arn in arns}


def _run(env: dict[str, str], folder: Path, bucket: str, *words: str) -> subprocess.CompletedProcess[str]:
    line = [*PROGRAM, "bucket-events", *words, "--project", str(folder), "--bucket", bucket, "--json"]
    return subprocess.run(line, env=environment(**env), capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("rules") / "traps")


@pytest.fixture
def bucket(gateway: Ceph, traps: Path, request: pytest.FixtureRequest) -> Iterator[Bucket]:
    made = Bucket(gateway, traps, f"b{hashlib.md5(request.node.name.encode()).hexdigest()}")
    yield made
    made.run("remove")


def test_the_bucket_tells_of_new_content_and_of_the_removals_that_mean_something(bucket: Bucket) -> None:
    said = bucket.run("setup", "--url", "http://127.0.0.1:9/hook", "--cloudevents", "--no-verify-ssl")
    told = {rule["Filter"]["Key"]["FilterRules"][0]["Value"]: rule["Events"] for rule in bucket.rules().values()}
    both = NEW + GONE
    assert told == {
        "incoming/": both,
        "jobs/": NEW,
        "control/requests/": NEW,
        "labels/": both,
        "failed/": GONE,
    }
    topic = bucket.topics()[f"trapline-moth-traps__{bucket.name}"]["EndPoint"]
    address = json.loads(topic)
    assert address["EndpointAddress"] == "http://127.0.0.1:9/hook"
    assert {"persistent=true", "cloudevents=true", "verify-ssl=false"} <= set(address["EndpointArgs"].split("&"))
    assert (said["store"], len(said["rules"])) == ("ceph", 5)


def test_what_others_configured_stands_through_setup_and_is_all_that_is_left_after_remove(bucket: Bucket) -> None:
    bucket.tell(OTHERS, RELATED)
    rules, topics = bucket.rules(), bucket.topics()
    bucket.run("setup", "--url", "http://127.0.0.1:9/hook")
    assert {name: bucket.rules()[name] for name in rules} == rules
    assert set(bucket.rules()) == OWN | set(rules)
    bucket.run("remove")
    assert (bucket.rules(), bucket.topics()) == (rules, topics)


def test_the_last_rule_of_a_bucket_can_be_removed(bucket: Bucket) -> None:
    bucket.run("setup", "--url", "http://127.0.0.1:9/hook")
    assert set(bucket.run("remove")["removed"]) == OWN
    assert bucket.rules() == {}
    assert bucket.run("remove")["removed"] == []


def test_setup_again_moves_the_rules_to_the_new_target(bucket: Bucket) -> None:
    other = bucket.tell(OTHERS)
    bucket.run("setup", "--url", "http://127.0.0.1:9/hook")
    bucket.run("setup", "--url", "http://127.0.0.1:9/moved")
    assert {rule["address"] for rule in bucket.run("show")["rules"] if rule["own"]} == {"http://127.0.0.1:9/moved"}
    bucket.run("setup", "--topic", other)
    found = bucket.run("show")["rules"]
    assert {rule["target"] for rule in found} == {other}
    assert len(found) == 6
    assert f"trapline-moth-traps__{bucket.name}" not in bucket.topics()


def test_a_refused_setup_leaves_everything_as_it_was(bucket: Bucket) -> None:
    bucket.run("setup", "--url", "http://127.0.0.1:9/hook")
    rules = bucket.rules()
    said = bucket.run("setup", "--topic", "arn:aws:sns:default::nobody", rc=2)
    assert "did not take the rules" in said
    assert "Check the ARN" in said
    assert bucket.rules() == rules


def test_a_dry_run_changes_nothing(bucket: Bucket) -> None:
    bucket.tell(OTHERS)
    rules, topics = bucket.rules(), bucket.topics()
    said = bucket.run("setup", "--url", "http://127.0.0.1:9/hook", "--dry-run")
    assert {rule["id"] for rule in said["rules"]} == OWN
    assert {clash["other"] for clash in said["clashes"]} == {OTHERS["Id"]}
    assert (bucket.rules(), bucket.topics()) == (rules, topics)


def test_a_password_in_the_address_is_never_shown(bucket: Bucket) -> None:
    said = bucket.run("setup", "--url", "https://ada:hush@127.0.0.1:9/hook", "--dry-run")
    assert "hush" not in json.dumps(said)


@pytest.mark.parametrize("given", ["http://127.0.0.1:9", "http://127.0.0.1:9/"])
def test_an_address_without_a_path_gets_that_of_the_webhook(bucket: Bucket, given: str) -> None:
    assert bucket.run("setup", "--url", given)["tells"] == "http://127.0.0.1:9/events"
    assert {rule["address"] for rule in bucket.run("show")["rules"]} == {"http://127.0.0.1:9/events"}


def test_a_password_in_a_plain_address_is_refused_with_what_ceph_takes(bucket: Bucket) -> None:
    said = bucket.run("setup", "--url", "http://ada:hush@127.0.0.1:9/hook", rc=2)
    assert "did not take the address" in said and "https://" in said
    assert "hush" not in said
    assert bucket.rules() == {}


def test_a_topic_that_another_bucket_tells_stays_and_is_named(bucket: Bucket) -> None:
    bucket.run("setup", "--url", "http://127.0.0.1:9/hook")
    name = f"trapline-moth-traps__{bucket.name}"
    (arn,) = {rule["TopicArn"] for rule in bucket.rules().values()}
    other = f"{bucket.name[:20]}-other"
    bucket.s3.create_bucket(Bucket=other)
    told: Any = {"TopicConfigurations": [{"Id": "theirs", "TopicArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    bucket.s3.put_bucket_notification_configuration(Bucket=other, NotificationConfiguration=told)
    assert bucket.run("remove")["kept"] == f"The topic {name} stays: a rule of the bucket {other!r} names it."
    assert name in bucket.topics()
    bucket.s3.delete_bucket(Bucket=other)
    bucket.gateway.sns.delete_topic(TopicArn=arn)


def test_two_roots_in_one_bucket_have_rules_and_a_topic_each(bucket: Bucket, tmp_path: Path) -> None:
    north = project(tmp_path / "north")
    (north / "pipeline.yaml").write_text((north / "pipeline.yaml").read_text() + "\nroot: north/\n")
    bucket.run("setup", "--url", "http://127.0.0.1:9/hook")
    own, topics = bucket.rules(), bucket.topics()
    done = _run(bucket.gateway.env, north, bucket.name, "setup", "--url", "http://127.0.0.1:9/north")
    assert done.returncode == 0, done.stderr
    assert {name: bucket.rules()[name] for name in own} == own
    assert len(bucket.rules()) == 2 * len(own)
    assert len(bucket.topics()) == len(topics) + 1
    assert _run(bucket.gateway.env, north, bucket.name, "remove").returncode == 0
    assert (bucket.rules(), bucket.topics()) == (own, topics)


def test_a_bucket_that_is_not_there_is_named(gateway: Ceph, traps: Path) -> None:
    done = _run(gateway.env, traps, "no-such-bucket", "show")
    assert done.returncode == 1
    assert "There is no bucket 'no-such-bucket'" in done.stderr


def test_a_store_without_the_api_is_told_by_its_steps(traps: Path, tmp_path: Path) -> None:
    rclone = Rclone(tmp_path / "data", port=0)
    rclone.start()
    try:
        served = rclone.endpoint
        rclone.bucket("traps").root.mkdir(parents=True, exist_ok=True)
        keys = {
            "AWS_ENDPOINT_URL": served.url,
            "AWS_ACCESS_KEY_ID": served.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": served.credentials.secret_key,
        }
        for words in (["setup", "--queue", "arn:minio:sqs::A:webhook"], ["show"], ["remove"]):
            done = _run(keys, traps, "traps", *words)
            assert done.returncode == 1
            said = json.loads(done.stdout)
            assert "has no API for notifications" in said["why"]
            assert "versitygw" in said["steps"]
    finally:
        rclone.stop()
