"""What people read of a job, and that an Apprise URL stays where it is."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from functions.notify import words
from tests.unit.test_notify import SUMMARY, Client, Item, callback, client, told  # noqa: F401 - the fixture is used by name
from trapline.errors import Failure, Permanent, Temporary
from trapline.records import Changes

SECRET = "hunter2-of-the-mail"


def address(server: Client, status: int = 200) -> str:
    return f"json://me:{SECRET}@127.0.0.1:{server.server_address[1]}/{status}"


def people(*addresses: str, **more: Any) -> Item:
    return Item(None, to="people", people=dict(enumerate(addresses)), **more)


def test_each_is_told_by_itself_and_noted(client: Client) -> None:  # noqa: F811
    item = people(address(client), address(client))
    assert told(item) == {"outcome": "told", "detail": {"people": 2}}
    assert item.reached == [0, 1] and len(client.got) == 2
    body = json.loads(client.got[0][1])
    assert body["title"] == "ecos/ea12: partial" and body["message"].startswith("The job ecos/ea12 is finished")


def test_who_did_not_take_it_is_told_of_by_place_kind_and_answer_alone(
    client: Client,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    item = people(address(client, 503), address(client))
    failure = told(item)
    assert isinstance(failure, Temporary) and failure.code == "notice_failed"
    assert failure.message == "notify.to 1 (json) answered 503." and item.reached == [1]
    assert SECRET not in f"{failure!r} {failure} {caplog.text} {item.sent}"


def test_an_address_of_no_service_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    failure = told(people(f"nosuch://me:{SECRET}@example.org"))
    assert isinstance(failure, Permanent) and "(nosuch) is no address that Apprise can use" in failure.message
    assert SECRET not in f"{failure} {caplog.text}"


def test_a_server_that_is_not_there_is_tried_again(client: Client, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    caplog.set_level(logging.DEBUG)
    gone = address(client)
    client.server_close()
    failure = told(people(gone))
    assert isinstance(failure, Failure) and failure.message == "notify.to 1 (json) did not take the message."
    assert SECRET not in f"{failure} {caplog.text}"


def test_without_people_there_is_nobody() -> None:
    assert told(people()) == {"outcome": "nobody", "detail": {}}


def test_a_paragraph_says_how_many_what_failed_in_words_and_where() -> None:
    counted = {
        "images": {"total": 6, "done": 5, "failed": 1},
        "not_received_count": 2,
        "not_received": ("a.jpg", "b.jpg"),
    }
    item = people(summary=SUMMARY.model_copy(update=counted), links={"report.html": "https://x/report.html"})
    assert words.text(item) == (
        "The job ecos/ea12 is finished, but not everything went through. 5 of 6 images done, 1 failed. "
        "1 × The image ends before it should. 2 files that were announced never came. "
        "Results: https://x/report.html"
    )


def test_a_count_that_was_not_met_is_told_as_one() -> None:
    item = people(summary=SUMMARY.model_copy(update={"not_received_count": 2}))
    assert "`_DONE` counts 2 more images than came." in words.text(item)


def test_an_update_says_what_changed(client: Client) -> None:  # noqa: F811
    changes = Changes(against="r2-00c0ffee", added=3, changed=1, names={"added": ("a.jpg",)})
    summary = SUMMARY.model_copy(update={"changes": changes})
    assert "replace earlier ones: 3 images added, 1 changed, 0 removed." in words.text(
        people(summary=summary, event="updated")
    )
    told(Item(callback(client), summary=summary, event="updated"))
    said = json.loads(client.got[0][1])["data"]["changes"]
    assert said == {"against": "r2-00c0ffee", "added": 3, "changed": 1, "removed": 0}


@pytest.mark.parametrize(
    ("event", "said"),
    [("opened", "The job ecos/ea12 began."), ("progress", "about 3 minutes left"), ("test", "Nothing happened to it")],
)
def test_news_are_a_sentence(event: str, said: str) -> None:
    news = {"images": {"done": 1, "total": 4}, "eta_seconds": 170.0}
    assert said in words.text(people(summary=None, event=event, news=news))


def test_people_read_why_a_manifest_was_refused() -> None:
    item = people(summary=None, event="failed", news={"message": "outputs: no such format."})
    assert words.text(item) == "The job ecos/ea12 failed: its manifest was refused. outputs: no such format."
    assert words.title(item) == "ecos/ea12: failed"


def test_a_job_cannot_put_a_line_or_a_header_into_a_mail() -> None:
    item = people(job="ecos/x\r\nBcc: all@example.org\n\nHello")
    assert len(words.title(item).splitlines()) == len(words.text(item).splitlines()) == 1


def test_nothing_of_apprise_is_loaded_until_people_are_told() -> None:
    look = "import sys, functions.notify.handler, trapline.cli.engine; print('apprise' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
