"""Keys from every usual place, their end and renewal, certificates and regions: on an emulator that checks the keys."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.engine import PROGRAM, Engine, environment, night, project, until
from tests.integration.guarded import NAME, ROLE, Guarded, certificates, client, guarded, in_files, without_aws
from tests.integration.hints import Heard, s3_event
from trapline.errors import StoreDenied, StoreUnavailable, TraplineError
from trapline.store.notifications_boto import BucketNotifications
from trapline.store.open import open_store, settings_from
from trapline.store.probing_boto import Probe
from triggers import listen, sqs

FIXED = "aws_access_key_id = fixed\naws_secret_access_key = s\n"
# Where keys come from → how what they are called begins, and boto3's word for the place.
PLACES = {
    "variables": ("fixed", "env"),
    "variables with a token": ("ASIAHAND", "env"),
    "the default profile": ("fixed", "shared-credentials-file"),
    "a profile": ("fixed", "shared-credentials-file"),
    "a profile in the config": ("fixed", "config-file"),
    "a program": ("fixed", "custom-process"),
    "an assumed role": ("ASIA", "assume-role"),
    "a web identity": ("ASIA", "assume-role-with-web-identity"),
    "a container": ("ASIACONTAINER", "container-role"),
    "a machine": ("ASIAMACHINE", "iam-role"),
}
# … and what stands in the config and in the credentials file then.
PROGRAM_SAYS = json.dumps({"Version": 1, "AccessKeyId": "fixed", "SecretAccessKey": "s"})
FILES = {
    "the default profile": ("", f"[default]\n{FIXED}"),
    "a profile": ("", f"[field]\n{FIXED}"),
    "a profile in the config": (f"[profile field]\n{FIXED}", ""),
    "a program": (f"[profile field]\ncredential_process = echo '{PROGRAM_SAYS}'\n", ""),
    "an assumed role": (f"[profile field]\nrole_arn = {ROLE}\nsource_profile = base\n", f"[base]\n{FIXED}"),
}


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    bare = without_aws()
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in bare.keys() - os.environ.keys():
        monkeypatch.setenv(name, bare[name])
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(name="aws")
def _aws() -> Iterator[Guarded]:
    with guarded() as made:
        yield made


def from_place(place: str, aws: Guarded, folder: Path) -> dict[str, str]:
    """The variables with which keys come from there."""
    token = folder / "token"
    token.write_text("a.web.identity")
    hand = aws.keys("hand")["AccessKeyId"] if place == "variables with a token" else "fixed"
    by_hand = {"AWS_ACCESS_KEY_ID": hand, "AWS_SECRET_ACCESS_KEY": "s"}
    variables = {
        "variables": by_hand,
        "variables with a token": {**by_hand, "AWS_SESSION_TOKEN": "t"},
        "the default profile": {},
        "a web identity": {"AWS_WEB_IDENTITY_TOKEN_FILE": str(token), "AWS_ROLE_ARN": ROLE},
        "a container": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{aws.endpoint}/container"},
        "a machine": {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": aws.endpoint},
    }.get(place, {"AWS_PROFILE": "field"})
    files = in_files(folder, *FILES.get(place, ("", "")))
    return {"AWS_ENDPOINT_URL": aws.endpoint, "AWS_REGION": "us-east-1", **files, **variables}


def use(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


# -- whatever asks, wherever the keys are


@pytest.mark.parametrize("place", PLACES)
def test_the_store_is_opened_with_keys_from(
    place: str, aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, from_place(place, aws, tmp_path))
    aws.used.clear()
    settings = settings_from("traps")
    store = open_store(settings)
    store.put("incoming/a.jpg", b"1")
    assert [entry.key for entry in store.list("incoming/a")] == ["incoming/a.jpg"]  # by boto3
    assert BucketNotifications(settings).read() == {}
    named, method = PLACES[place]
    assert Probe(settings).keys() == method
    assert all(key.startswith(named) for key in aws.used)
    assert aws.refused == []


@pytest.mark.parametrize("place", PLACES)
def test_the_triggers_listen_and_sqs_use_keys_from(
    place: str, aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = client(aws, "sqs").create_queue(QueueName="told")["QueueUrl"]
    client(aws, "sqs").send_message(QueueUrl=url, MessageBody=s3_event("incoming/a.jpg"))
    use(monkeypatch, from_place(place, aws, tmp_path))
    aws.used.clear()
    heard = Heard()
    queue = sqs.open_trigger(heard.context(aws.endpoint), queue=url, wait=1, receivers=1)
    stream = listen.open_trigger(heard.context(aws.endpoint, ("incoming/",)))
    for trigger in (queue, stream):
        trigger.start()
    until(lambda: heard.keys == ["incoming/a.jpg"])
    until(lambda: "event=listen.no_api" in caplog.text)  # the emulator was asked, and has none
    for trigger in (queue, stream):
        trigger.stop()
    assert all(key.startswith(PLACES[place][0]) for key in aws.used)
    assert aws.refused == []


@pytest.mark.slow
def test_the_doctor_says_where_the_keys_are_from(aws: Guarded, tmp_path: Path) -> None:
    variables = from_place("an assumed role", aws, tmp_path)
    words = [*PROGRAM, "doctor", "--project", str(project(tmp_path / "p")), "--bucket", "traps", "--canary", "0"]
    done = subprocess.run(words, env=environment(**variables), capture_output=True, text=True, timeout=60, check=False)
    assert "credentials: Taken from assume-role, and accepted." in done.stdout


# -- their end


@pytest.mark.parametrize("place", ["an assumed role", "a web identity", "a container"])
def test_keys_that_end_soon_are_renewed_while_the_store_is_used(
    place: str, aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.lives = 8  # those of a machine's role boto3 takes for longer ones, for the metadata service renews them itself
    use(monkeypatch, from_place(place, aws, tmp_path))
    store = open_store(settings_from("traps"))
    end = time.monotonic() + 11
    while time.monotonic() < end:
        store.put("incoming/a.jpg", b"1")
        list(store.list("incoming/a"))
        time.sleep(0.5)
    assert aws.refused == []
    assert min(aws.issued.values()) < time.time()


def test_keys_that_a_program_writes_anew_into_the_file_are_read_again(
    aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.lives = 4

    def written() -> dict[str, str]:
        made = aws.keys("file")["AccessKeyId"]
        keys = f"[default]\naws_access_key_id = {made}\naws_secret_access_key = s\naws_session_token = t\n"
        return {"AWS_ENDPOINT_URL": aws.endpoint, **in_files(tmp_path, keys=keys)}

    use(monkeypatch, written())
    url = client(aws, "sqs").create_queue(QueueName="told")["QueueUrl"]
    heard = Heard()
    queue = sqs.open_trigger(heard.context(aws.endpoint), queue=url, wait=1, receivers=1)
    queue.start()
    store = open_store(settings_from("traps"))
    store.put("incoming/a.jpg", b"1")
    list(store.list("incoming/a"))
    time.sleep(5.5)
    with pytest.raises(StoreDenied, match=r"has expired\. Renew it where it comes from"):
        list(store.list("incoming/a"))
    aws.lives = 60
    written()
    assert len(list(store.list("incoming/a"))) == 1
    store.put("incoming/b.jpg", b"1")
    client(aws, "sqs").send_message(QueueUrl=url, MessageBody=s3_event("incoming/a.jpg"))
    until(lambda: heard.keys == ["incoming/a.jpg"])
    queue.stop()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_an_engine_whose_keys_hold_for_a_minute_works_on_for_longer(aws: Guarded, tmp_path: Path) -> None:
    aws.lives = 60
    traps = project(tmp_path / "traps", {"settle": "PT1H", "refresh": "PT0.5S"})
    spec = yaml.safe_load((traps / "pipeline.yaml").read_text())
    spec |= {"triggers": [], "sweeps": {"open": "PT2S", "names": "PT2S"}}
    (traps / "pipeline.yaml").write_text(yaml.safe_dump(spec))
    served = Engine(traps, tmp_path / "data", environment(**from_place("an assumed role", aws, tmp_path)))
    try:
        served.start()
        served.told |= {"access_key": "fixed", "secret_key": "s"}
        for number, wait in ((1, 40), (2, 40), (3, 0)):
            served.upload(f"st7/{number}", {"a.jpg": night(number)})
            served.closed(f"st7/{number}", seconds=40)
            time.sleep(wait)
        assert served.stop() == 0
    finally:
        served.end()
    assert min(aws.issued.values()) < time.time() - 20
    assert aws.refused == []


# -- what is wrong, in one line


def refusal(make: Any) -> str:
    with pytest.raises(TraplineError) as told:
        make()
    text = str(told.value)
    assert "\n" not in text and len(text) < 400
    return text


def put() -> None:
    open_store(settings_from("traps")).put("incoming/a.jpg", b"1")


def test_no_keys_at_all(aws: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"AWS_ENDPOINT_URL": aws.endpoint})
    said = "There are no credentials for bucket 'traps' at http://127.0.0.1:"
    assert said in refusal(put) and "Set AWS_ACCESS_KEY_ID" in refusal(put)
    assert said in refusal(lambda: Probe(settings_from("traps")).keys())
    assert said in refusal(lambda: listen.open_trigger(Heard().context(aws.endpoint)))
    url = client(aws, "sqs").create_queue(QueueName="told")["QueueUrl"]
    assert "There are no credentials" in refusal(lambda: sqs.open_trigger(Heard().context("http://x"), url).start())


def test_a_profile_that_is_not_there(aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"AWS_ENDPOINT_URL": aws.endpoint, **in_files(tmp_path, "[profile b]\n", "[a]\n")})
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    said = refusal(put)
    assert "There is no profile 'nobody' in" in said and "one that is there (a, b)" in said
    assert refusal(lambda: listen.open_trigger(Heard().context(aws.endpoint))) == said
    monkeypatch.setenv("AWS_PROFILE", "a")
    told = refusal(lambda: sqs.open_trigger(Heard().context("http://x"), "told", "us-east-1", profile="nobody"))
    assert "There is no profile 'nobody'" in told


def test_a_file_that_is_no_config(aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"AWS_ENDPOINT_URL": aws.endpoint, **in_files(tmp_path, "region eu-west-1\n")})
    assert "is not made of [sections]" in refusal(put)


def test_a_token_that_has_expired(aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, from_place("variables with a token", aws, tmp_path))
    aws.issued = dict.fromkeys(aws.issued, 0.0)
    assert "has expired. Renew it" in refusal(put)
    assert "has expired. Renew it" in refusal(lambda: Probe(settings_from("traps")).clock(""))
    url = client(aws, "sqs").create_queue(QueueName="told")["QueueUrl"]
    assert "Its session token has expired (ExpiredToken)" in refusal(
        lambda: sqs.open_trigger(Heard().context("http://x"), url).start()
    )


def test_a_role_that_may_not_be_assumed(aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.refuses = "AccessDenied"
    use(monkeypatch, from_place("an assumed role", aws, tmp_path))
    said = refusal(put)
    assert "STS gave no keys" in said and "AccessDenied at AssumeRole. Check role_arn" in said
    assert "AccessDenied at AssumeRole" in refusal(lambda: Probe(settings_from("traps")).clock(""))
    url = f"{aws.endpoint}/123456789012/told"
    assert "STS gave no keys" in refusal(lambda: sqs.open_trigger(Heard().context("http://x"), url).start())


def test_a_token_file_that_is_not_there(aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {**from_place("a web identity", aws, tmp_path), "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere"})
    said = "The web identity token '/nowhere' cannot be used. Set AWS_WEB_IDENTITY_TOKEN_FILE"
    assert said in refusal(put)
    assert said in refusal(lambda: Probe(settings_from("traps")).clock(""))
    assert said in refusal(lambda: sqs.open_trigger(Heard().context("http://x"), f"{aws.endpoint}/1/told").start())


def test_a_token_service_that_is_away_is_tried_again(
    aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, {**from_place("an assumed role", aws, tmp_path), "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"})
    with pytest.raises(StoreUnavailable, match="No keys for bucket"):
        put()


@pytest.mark.parametrize("answer", ["AuthorizationHeaderMalformed", "PermanentRedirect"])
def test_a_wrong_region(answer: str, aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {**from_place("variables", aws, tmp_path), "AWS_REGION": "eu-north-1"})
    aws.region, aws.elsewhere = "us-east-1", answer
    assert "Set AWS_REGION" in refusal(put)
    if answer != "PermanentRedirect":  # which boto3 follows, where the answer says to which region
        assert "Set AWS_REGION" in refusal(lambda: Probe(settings_from("traps")).clock(""))


# -- TLS with a private authority


@pytest.fixture(name="private")
def _private(tmp_path: Path) -> Iterator[tuple[Guarded, Path]]:
    bundle, chain, key = certificates(tmp_path)
    with guarded((str(chain), str(key))) as made:
        yield made, bundle


def over_tls(aws: Guarded, said: pytest.LogCaptureFixture) -> None:
    """Everything that speaks to the store, until `listen` is sure that this one has no such API."""
    settings = settings_from("traps")
    store = open_store(settings)
    store.put("incoming/a.jpg", b"1")
    assert [entry.key for entry in store.list("incoming/a")] == ["incoming/a.jpg"]
    heard = Heard()
    url = f"{aws.endpoint}/123456789012/told"
    triggers = (
        sqs.open_trigger(heard.context(aws.endpoint), queue=url, wait=1, receivers=1),
        listen.open_trigger(heard.context(aws.endpoint, ("incoming/",))),
    )
    for trigger in triggers:
        trigger.start()
    until(lambda: "event=listen.no_api" in said.text)
    for trigger in triggers:
        trigger.stop()


@pytest.mark.parametrize("where", ["the variable", "the profile"])
def test_a_private_authority_named_by(
    where: str,
    private: tuple[Guarded, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    aws, bundle = private
    client(aws, "sqs", verify=False).create_queue(QueueName="told")
    use(monkeypatch, from_place("variables", aws, tmp_path))
    if where == "the variable":
        monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    else:
        use(monkeypatch, in_files(tmp_path, f"[default]\nca_bundle = {bundle}\n"))
    over_tls(aws, caplog)
    assert "failing" not in caplog.text


def test_a_certificate_that_is_not_trusted(
    private: tuple[Guarded, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    aws, _ = private
    use(monkeypatch, from_place("variables", aws, tmp_path))
    assert "is not trusted. Set AWS_CA_BUNDLE" in refusal(put)
    assert "is not trusted. Set AWS_CA_BUNDLE" in refusal(lambda: Probe(settings_from("traps")).clock(""))
    assert "AWS_CA_BUNDLE" in refusal(lambda: sqs.open_trigger(Heard().context("x"), f"{aws.endpoint}/1/told").start())
    trigger = listen.open_trigger(Heard().context(aws.endpoint, ("incoming/",)))
    trigger.start()
    until(lambda: "Set AWS_CA_BUNDLE" in caplog.text)
    trigger.stop()


@pytest.mark.parametrize("wrong", ["cannot be read", "holds no certificates"])
def test_a_bundle_that_is_none(wrong: str, aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "ca.pem"
    if "holds" in wrong:
        bundle.write_text("these are no certificates\n")
    use(monkeypatch, {**from_place("variables", aws, tmp_path), "AWS_CA_BUNDLE": str(bundle)})
    assert f"The CA bundle {bundle} {wrong}" in refusal(put)
    assert wrong in refusal(lambda: listen.open_trigger(Heard().context(aws.endpoint)))
    assert wrong in refusal(lambda: sqs.open_trigger(Heard().context("http://x"), f"{aws.endpoint}/1/told").start())


# -- region and addressing


def test_the_region_is_taken_from_the_profile(aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, from_place("variables", aws, tmp_path))
    monkeypatch.delenv("AWS_REGION")
    use(monkeypatch, in_files(tmp_path, "[profile field]\nregion = eu-north-1\n"))
    monkeypatch.setenv("AWS_PROFILE", "field")
    aws.region = "eu-north-1"
    put()
    assert len(list(open_store(settings_from("traps")).list("incoming/a"))) == 1
    assert sqs.Queue(f"{aws.endpoint}/123456789012/told", None, None, None).region == "eu-north-1"


@pytest.mark.parametrize(("style", "host"), [("path", NAME), ("virtual", f"traps.{NAME}")])
def test_the_bucket_stands_where_the_profile_says(
    style: str, host: str, aws: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a proxy, for want of names that lead here."""
    use(monkeypatch, {**from_place("variables", aws, tmp_path), "AWS_ENDPOINT_URL": f"http://{NAME}"})
    use(monkeypatch, in_files(tmp_path, f"[default]\ns3 =\n    addressing_style = {style}\n"))
    monkeypatch.setenv("HTTP_PROXY", aws.endpoint)
    monkeypatch.setenv("http_proxy", aws.endpoint)
    aws.hosts.clear()
    store = open_store(settings_from("traps"))
    store.put("incoming/a.jpg", b"1")
    assert [entry.key for entry in store.list("incoming/a")] == ["incoming/a.jpg"]
    assert aws.hosts == {host}
