"""Who is told of what, when, how often: the real dispatcher over a memory store, in simulated time."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from trapline.errors import Failure, Permanent, Temporary
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

BASIC = Path(__file__).parents[1] / "functions" / "basic"
OURS = Path(__file__).parents[2] / "functions" / "notify" / "function.yaml"
JOB = "ecos/j1"
DAY = 86_400.0
PEOPLE = ["json://first", "json://second"]

Answer = Callable[[Any], dict[str, Any] | Failure]


class Told:
    """What `notify` was handed, and when; and how it answers."""

    def __init__(self) -> None:
        self.items: list[tuple[float, Any]] = []
        self.answer: Answer = lambda item: {"outcome": "told" if item.callback or item.people else "nobody"}

    def kinds(self, to: str = "client") -> list[str]:
        return [item.event for _, item in self.items if item.to == to]

    def times(self, event: str = "completed", to: str = "client") -> list[float]:
        return [at for at, item in self.items if (item.event, item.to) == (event, to)]


@pytest.fixture
def told(case: Any, monkeypatch: pytest.MonkeyPatch) -> Told:
    told = Told()

    class Notify:
        def handle(self, items: list[Any]) -> list[Any]:
            told.items += [(asyncio.get_running_loop().time(), item) for item in items]
            return [told.answer(item) for item in items]

    monkeypatch.setattr(case, "Notify", Notify)
    return told


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The basic pipeline, with the delivery of the `notify` that this project ships."""
    shutil.copytree(BASIC / "functions", tmp_path / "functions")
    path = tmp_path / "functions" / "notify" / "function.yaml"
    delivery = yaml.safe_load(OURS.read_text())["delivery"]
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "delivery": delivery}))
    return settings(tmp_path)


def settings(project: Path, **more: Any) -> Path:
    spec = yaml.safe_load((BASIC / "pipeline.yaml").read_text())
    (project / "pipeline.yaml").write_text(yaml.safe_dump({**spec, **more}))
    return project


def submit(world: Simulated, *words: str, **callback: Any) -> None:
    for word in words:
        world.put(f"incoming/{JOB}/{word}.jpg", word.encode())
    listed = [{"id": word, "url": f"incoming/{JOB}/{word}.jpg"} for word in words]
    told = {"callbackUrl": "https://platform.example.org/", "callbackToken": "t", **callback}
    world.put(f"jobs/{JOB}.json", json.dumps({"sourceImages": listed, "callback": told}).encode())


def keys(store: MemoryStore, prefix: str) -> list[str]:
    return [entry.key.removeprefix(prefix) for entry in store.list(prefix)]


def read(store: MemoryStore, key: str) -> Any:
    return json.loads(store.get(key).data)


def refused(**more: Any) -> Answer:
    return lambda item: Temporary("no answer", code="callback_failed", **more)


# -- a day


def test_a_client_that_never_answers_is_tried_for_a_day_further_and_further_apart(project: Path, told: Told) -> None:
    told.answer = refused()

    async def scenario(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(1.1 * DAY)

    world = Simulated(project)
    world.play(scenario)
    at = told.times()
    waits = [round(later - before) for before, later in pairwise(at)]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560] + [3600] * 23
    assert DAY < at[-1] - at[0] < 1.05 * DAY
    (letter,) = keys(world.store, f"failed/notify/{JOB}/")
    said = read(world.store, f"failed/notify/{JOB}/{letter}")
    assert (said["code"], said["attempts"]) == ("callback_failed", 34)
    status = read(world.store, f"status/{JOB}.json")
    assert (status["state"], status["told"]) == ("SUCCEEDED", "dead letter")


def test_a_client_that_comes_back_within_the_day_is_told_and_leaves_a_receipt(project: Path, told: Told) -> None:
    told.answer = lambda item: {"outcome": "told"} if told.items[-1][0] > DAY / 2 else refused()(item)

    async def scenario(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(DAY)

    world = Simulated(project)
    world.play(scenario)
    (receipt,) = keys(world.store, f"receipts/{JOB}/")
    assert read(world.store, f"receipts/{JOB}/{receipt}")["attempts"] == len(told.times())
    assert len({item.webhook_id for _, item in told.items}) == 1
    assert not keys(world.store, "failed/")


def test_what_is_told_to_a_client_that_failed_lately_is_told_apart_until_it_answers(project: Path, told: Told) -> None:
    def manifest(name: str) -> bytes:
        listed = [{"id": "moth", "url": f"incoming/ecos/{name}/moth.jpg"}]
        callback = {"callbackUrl": f"https://platform.example.org/told?job={name}"}
        return json.dumps({"sourceImages": listed, "callback": callback}).encode()

    told.answer = lambda item: refused()(item) if len(told.items) == 1 else {"outcome": "told"}

    async def scenario(world: Simulated) -> None:
        for name in ("first", "second", "third"):
            world.put(f"incoming/ecos/{name}/moth.jpg", b"moth")
            world.put(f"jobs/ecos/{name}.json", manifest(name))
            await asyncio.sleep(3)

    Simulated(project).play(scenario)
    first = {item.job: item.brief for _, item in reversed(told.items)}
    assert first == {"ecos/first": True, "ecos/second": False, "ecos/third": True}


@pytest.mark.parametrize(("retry", "brief"), [(2, [True, False, False]), (0, [False])])
def test_the_first_of_several_tries_is_a_short_one(project: Path, told: Told, retry: int, brief: list[bool]) -> None:
    told.answer = refused()
    path = project / "functions" / "notify" / "function.yaml"
    spec = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**spec, "delivery": {**spec["delivery"], "retry": retry}}))

    async def scenario(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(600)

    Simulated(project).play(scenario)
    assert [item.brief for _, item in told.items] == brief


@pytest.mark.parametrize(("after", "waits"), [(1.0, [5, 10, 20, 40]), (90.0, [90, 90, 90, 90])])
def test_a_client_that_says_when_is_not_called_sooner_and_not_given_up_sooner(
    project: Path, told: Told, after: float, waits: list[int]
) -> None:
    told.answer = refused(after=after)

    async def scenario(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(600)

    Simulated(project).play(scenario)
    assert [round(later - before) for before, later in pairwise(told.times())][:4] == waits


def test_a_refusal_for_good_is_a_dead_letter_at_once_and_deleting_it_tells_anew(project: Path, told: Told) -> None:
    told.answer = lambda item: Permanent("410", code="callback_failed")

    async def scenario(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(60)
        assert len(told.times()) == 1
        told.answer = lambda item: {"outcome": "told"}
        (letter,) = keys(world.store, f"failed/notify/{JOB}/")
        world.delete(f"failed/notify/{JOB}/{letter}")
        await asyncio.sleep(60)

    world = Simulated(project)
    world.play(scenario)
    assert len(told.times()) == 2 and len(keys(world.store, f"receipts/{JOB}/")) == 1


# -- what a client wants to hear of


def test_a_client_hears_of_completed_and_updated_unless_it_says_otherwise(project: Path, told: Told) -> None:
    async def scenario(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(300)
        submit(world, "moth", "beetle")
        await asyncio.sleep(300)

    world = Simulated(project)
    world.play(scenario)
    assert told.kinds() == ["completed", "updated"]
    assert len(keys(world.store, f"receipts/{JOB}/")) == 2


def test_what_a_client_does_not_want_leaves_a_receipt_that_says_so(project: Path, told: Told) -> None:
    async def scenario(world: Simulated) -> None:
        submit(world, "moth", on=["completed"])
        await asyncio.sleep(300)
        submit(world, "moth", "beetle", on=["completed"])
        await asyncio.sleep(300)

    world = Simulated(project)
    world.play(scenario)
    assert told.kinds() == ["completed"]
    found = [read(world.store, f"receipts/{JOB}/{name}")["outcome"] for name in keys(world.store, f"receipts/{JOB}/")]
    assert sorted(found) == ["told", "unwanted"]
    assert read(world.store, f"status/{JOB}.json")["told"] == "unwanted"


def test_a_client_that_wants_to_hear_nothing_is_left_alone(project: Path, told: Told) -> None:
    async def scenario(world: Simulated) -> None:
        submit(world, "moth", on=[])
        await asyncio.sleep(300)

    world = Simulated(project)
    world.play(scenario)
    assert told.items == [] and read(world.store, f"status/{JOB}.json")["told"] == "unwanted"


def test_a_client_that_wants_no_updates_is_told_of_what_an_update_overtook(project: Path, told: Told) -> None:
    told.answer = lambda item: {"outcome": "told"} if told.items[-1][0] > 400 else refused()(item)

    async def scenario(world: Simulated) -> None:
        submit(world, "moth", on=["completed"])
        await asyncio.sleep(200)
        submit(world, "moth", "beetle", on=["completed"])
        await asyncio.sleep(1000)

    Simulated(project).play(scenario)
    assert set(told.kinds()) == {"completed"} and not any(item.overtaken for _, item in told.items)


def test_the_first_results_are_told_as_such_where_none_could_be_compiled_before(
    project: Path, told: Told, case: Any
) -> None:
    async def scenario(world: Simulated) -> None:
        case.COMPILE_FAILS[0] = 100
        submit(world, "moth", on=["completed"])
        await asyncio.sleep(300)
        case.COMPILE_FAILS[0] = 0
        world.delete(f"failed/compile/{JOB}.json")
        await asyncio.sleep(300)
        submit(world, "moth", "beetle", on=["completed"])
        await asyncio.sleep(300)

    world = Simulated(project)
    world.play(scenario)
    assert [(item.summary.state, item.event) for _, item in told.items] == [
        ("FAILED", "completed"),
        ("SUCCEEDED", "completed"),
    ]
    finals = read(world.store, f"results/{JOB}/summary.json")["finals"]
    assert [(final["failed"], final["updates"]) for final in finals] == [(True, False), (False, False), (False, True)]


def test_a_status_says_why_results_could_not_be_compiled_in_the_words_of_the_dead_letter(
    project: Path, told: Told, case: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Compile:
        def handle(self, items: list[Any]) -> list[Any]:
            return [Permanent("roll.parquet takes 9 GB.", code="out_of_memory", remedy="Give compile 16 GB.")]

    async def scenario(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(300)

    monkeypatch.setattr(case, "Compile", Compile)
    world = Simulated(project)
    world.play(scenario)
    letter, status = read(world.store, f"failed/compile/{JOB}.json"), read(world.store, f"status/{JOB}.json")
    assert (letter["code"], letter["message"]) == ("out_of_memory", "roll.parquet takes 9 GB.")
    assert status["message"] == (
        "The results could not be compiled (out_of_memory). roll.parquet takes 9 GB. Give compile 16 GB."
    )
    assert status["codes"]["out_of_memory"]["meaning"] == letter["meaning"]


def test_a_function_from_before_there_were_news_is_handed_none(project: Path, told: Told) -> None:
    path = project / "functions" / "notify" / "function.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "tells": []}))

    async def scenario(world: Simulated) -> None:
        submit(world, "moth", on=["opened", "progress", "completed"])
        await asyncio.sleep(300)

    Simulated(project).play(scenario)
    assert told.kinds() == ["completed"]


@pytest.fixture
def one_by_one(project: Path) -> None:
    for name in ("detect", "classify"):
        path = project / "functions" / name / "function.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "batch": {"size": 1}}))


def slowly(world: Simulated, seconds: float) -> None:
    """Each ticket takes so long."""
    assert world.executor is not None
    world.executor.seconds = seconds


@pytest.mark.usefixtures("one_by_one")
def test_an_open_job_is_told_of_once_and_then_at_most_once_a_minute_and_never_after_its_end(
    project: Path, told: Told
) -> None:
    async def scenario(world: Simulated) -> None:
        slowly(world, 25.0)
        submit(world, *(f"moth{n}" for n in range(30)), on=["opened", "progress", "completed"])
        await asyncio.sleep(3600)

    world = Simulated(project, slots=2)
    world.play(scenario)
    kinds, at = told.kinds(), told.times("progress")
    assert kinds == ["opened"] + ["progress"] * len(at) + ["completed"] and len(at) > 2
    assert all(later - before >= 60 for before, later in pairwise(at))
    done = [item.news["images"]["done"] for _, item in told.items if item.event == "progress"]
    assert done == sorted(set(done))  # each says something new
    assert len({item.webhook_id for _, item in told.items}) == len(told.items)
    assert len(keys(world.store, f"receipts/{JOB}/")) == 1 and not keys(world.store, "failed/")


@pytest.mark.usefixtures("one_by_one")
def test_news_that_nobody_takes_is_lost_and_what_ends_the_job_is_told(project: Path, told: Told) -> None:
    news = ("opened", "progress")
    told.answer = lambda item: refused()(item) if item.event in news else {"outcome": "told"}

    async def scenario(world: Simulated) -> None:
        slowly(world, 20.0)
        submit(world, *(f"moth{n}" for n in range(20)), on=["opened", "progress", "completed"])
        await asyncio.sleep(3600)

    world = Simulated(project, slots=2)
    world.play(scenario)
    assert told.kinds().count("opened") == 1 and told.kinds()[-1] == "completed"
    assert all(item.brief for _, item in told.items)  # who hangs keeps others from hearing theirs for a moment only
    assert not keys(world.store, "failed/")


@pytest.mark.usefixtures("one_by_one")
def test_an_engine_that_begins_anew_does_not_open_a_job_again(project: Path, told: Told) -> None:
    async def first(world: Simulated) -> None:
        slowly(world, 20.0)
        submit(world, *(f"moth{n}" for n in range(20)), on=["opened", "completed"])
        await asyncio.sleep(45)

    async def second(world: Simulated) -> None:
        await asyncio.sleep(600)

    store = MemoryStore()
    Simulated(project, store, slots=2).play(first, clean=False)
    Simulated(project, store).play(second)
    assert told.kinds() == ["opened", "completed"]


# -- people


def test_people_whom_the_pipeline_names_are_told_beside_the_client(project: Path, told: Told) -> None:
    async def scenario(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(300)

    world = Simulated(settings(project, notify={"to": PEOPLE}))
    world.play(scenario)
    assert (told.kinds("client"), told.kinds("people")) == (["completed"], ["completed"])
    (item,) = (item for _, item in told.items if item.to == "people")
    assert item.people == dict(enumerate(PEOPLE)) and item.callback is None
    (client, people) = sorted(keys(world.store, f"receipts/{JOB}/"), key=len)
    assert people == client.removesuffix(".json") + ".people.json"


def test_people_who_cannot_be_told_end_as_a_dead_letter_and_the_client_knows_nothing_of_it(
    project: Path, told: Told
) -> None:
    def answer(item: Any) -> dict[str, Any] | Failure:
        if item.to == "client":
            return {"outcome": "told"}
        item.reached += [place for place in item.people if place == 0]
        return Temporary("the second does not answer", code="notice_failed")

    told.answer = answer

    async def scenario(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(1.1 * DAY)

    world = Simulated(settings(project, notify={"to": PEOPLE}))
    world.play(scenario)
    asked = [tuple(item.people) for _, item in told.items if item.to == "people"]
    assert asked == [(0, 1)] + [(1,)] * 33  # who was told is left alone
    assert len(told.times()) == 1 and read(world.store, f"status/{JOB}.json")["told"] == "told"
    (letter,) = keys(world.store, f"failed/notify/{JOB}/")
    assert letter.endswith(".people.json")
    assert read(world.store, f"failed/notify/{JOB}/{letter}")["code"] == "notice_failed"


def test_people_are_not_told_of_results_from_before_they_were_named(project: Path, told: Told) -> None:
    async def scenario(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(300)

    async def look(world: Simulated) -> None:
        world.put("control/requests/1.json", b'{"type":"trapline.request","schema":1,"action":"retry","job":"ecos/j1"}')
        await asyncio.sleep(300)

    store = MemoryStore()
    Simulated(project, store).play(scenario)
    Simulated(settings(project, notify={"to": PEOPLE}), store).play(look)
    assert told.kinds("people") == []


def test_an_address_that_is_not_in_the_environment_is_said_by_its_name(
    project: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAIL_PASSWORD", raising=False)

    async def scenario(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(300)

    world = Simulated(settings(project, notify={"to": "mailto://me:${MAIL_PASSWORD}@hunter2.example.org"}))
    world.play(scenario)
    (letter,) = keys(world.store, f"failed/notify/{JOB}/")
    message = read(world.store, f"failed/notify/{JOB}/{letter}")["message"]
    assert "${MAIL_PASSWORD}" in message and "hunter2" not in message
    assert told.kinds("client") == ["completed"]


def second_refuses(item: Any) -> dict[str, Any] | Failure:
    item.reached += [place for place, address in item.people.items() if address != PEOPLE[1]]
    wrong = [address for address in item.people.values() if address == PEOPLE[1]]
    return Temporary("the second does not answer", code="notice_failed") if wrong else {"outcome": "told"}


def addresses(told: Told) -> list[str]:
    return [address for _, item in told.items if item.to == "people" for address in item.people.values()]


def test_one_address_that_cannot_be_made_out_silences_nobody_else(
    project: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAIL_PASSWORD", raising=False)
    told.answer = second_refuses

    async def scenario(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(300)
        (letter,) = keys(world.store, f"failed/notify/{JOB}/")
        assert "${MAIL_PASSWORD}" in read(world.store, f"failed/notify/{JOB}/{letter}")["message"]
        monkeypatch.setenv("MAIL_PASSWORD", "known-now")
        world.delete(f"failed/notify/{JOB}/{letter}")
        await asyncio.sleep(300)

    world = Simulated(settings(project, notify={"to": ["mailto://me:${MAIL_PASSWORD}@example.org", PEOPLE[0]]}))
    world.play(scenario)
    assert addresses(told) == [PEOPLE[0], "mailto://me:known-now@example.org"]
    assert len(keys(world.store, f"receipts/{JOB}/")) == 2


@pytest.mark.parametrize("now", [PEOPLE, PEOPLE[::-1], PEOPLE[:1], [*PEOPLE, "json://third"]])
def test_a_restart_tells_nobody_again_whom_a_message_has_reached(project: Path, told: Told, now: list[str]) -> None:
    told.answer = second_refuses

    async def first(world: Simulated) -> None:
        submit(world, "moth")
        await asyncio.sleep(60)

    async def second(world: Simulated) -> None:
        await asyncio.sleep(60)
        told.answer = lambda item: {"outcome": "told"}
        await asyncio.sleep(2 * DAY)

    store = MemoryStore()
    Simulated(settings(project, notify={"to": PEOPLE}), store).play(first, clean=False)
    assert addresses(told).count(PEOPLE[0]) == 1
    told.items.clear()
    Simulated(settings(project, notify={"to": now}), store).play(second)
    assert set(addresses(told)) == {*now} - {PEOPLE[0]}
    receipts = [read(store, f"receipts/{JOB}/{name}") for name in keys(store, f"receipts/{JOB}/")]
    assert [receipt["outcome"] for receipt in receipts] == ["told", "told"]
    assert not read(store, f"control/jobs/{JOB}.json").get("reached")
