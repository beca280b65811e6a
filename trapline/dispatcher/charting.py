"""Looking at the bucket: one job whole, all jobs by their digests, new names."""

from __future__ import annotations

import hashlib
import json
import logging

from trapline import sweep
from trapline.dispatcher import control_record, refusals
from trapline.dispatcher.world import World
from trapline.errors import KeyUnusable, StoreError
from trapline.ledger import closing
from trapline.ledger.arrivals import Chart
from trapline.ledger.states import Job, ReviewMark
from trapline.records import LastFinal, Receipt, Received, RollEntry, Seen, Summary, load
from trapline.registry import in_force
from trapline.store.base import Entry

log = logging.getLogger("trapline.sweep")

QUIET_STEP = 55.0  # seconds
UNADDRESSED = "The store's library cannot address this key."
REVIEW_BYTES = 64 * 2**20
REFUSED_PAUSE, LONGEST_REFUSED = 30.0, 3600.0  # seconds until a job that the store refuses is looked at again


async def full(world: World) -> None:
    """Compare every job's listing with what was seen of it; open those that differ."""
    overview = sweep.Overview()
    async for page in world.store.pages(world.layout.prefix("incoming")):
        overview.incoming(page, world.layout)
    async for page in world.store.pages(world.layout.prefix("failed")):
        overview.failed(page, world.layout)
    overview.manifests = await _etags(world, "jobs", "manifest")
    overview.reviews = await _etags(world, "labels", "review")
    jobs = {*overview.arrived, *overview.manifests} - await _shown_only(world, overview)
    for name in sorted({*jobs, *overview.reviews}):
        await _open_if_unseen(world, name, overview.text(name), review_alone=name not in jobs)
    log.info("event=sweep.done jobs=%d open=%d", len(jobs), len(world.ledger.jobs))


async def _open_if_unseen(world: World, name: str, digest: str, *, review_alone: bool) -> None:
    """Open a job that is not as it was seen last. A review alone is no job: it may be of one whose images are gone."""
    if await _refuse_unfit(world, name):
        return
    if name in world.ledger.jobs:
        world.desk(name).chart_wanted = True
        return
    got = (await refusals.gets(world, [world.layout.seen(name)]))[0]
    seen = load(Seen, got.data) if got else None
    if review_alone and seen is None:
        await review_of_no_job(world, name)
        return
    if seen is None or not seen.finished or seen.listing != digest:
        world.ledger.job(name, world.now())


async def _shown_only(world: World, overview: sweep.Overview) -> set[str]:
    """Names that no job has: a folder's, as a listing shows it where its bytes are no text. `names` puts it aside."""
    odd = overview.arrived.keys() - overview.addressed - overview.manifests.keys()
    incoming = world.layout.prefix("incoming")
    return {name for name in odd if not world.unfit(name) and not any(await _places(world, incoming, name))}


async def _refuse_unfit(world: World, name: str) -> bool:
    """Put aside, once, the name of a job that cannot have a status. True: the job is not opened."""
    why = world.unfit(name)
    if why:
        await _put_aside(world, world.layout.image(f"{name}/"), name, why)
    return bool(why)


async def review_of_no_job(world: World, name: str) -> None:
    """A review may come before its images; one whose name no job can have is put aside: nobody would ever read it."""
    layout = world.layout
    try:
        layout.check_job(name)
        log.warning("event=review.of_no_job key=%r", layout.review(name))
    except KeyUnusable as error:
        folders = name.split("/")[: layout.depth]
        own = f", such as {layout.review('/'.join(folders))}" if len(folders) == layout.depth else ""
        await _put_aside(
            world, layout.review(name), name, f"{error} Its review is called {layout.review('<job>')}{own}."
        )


async def workbook(world: World, key: str) -> None:
    """What a spreadsheet saved among the reviews as its own kind of file is put aside."""
    why = f"A review is a table: save it as CSV (UTF-8), and call it {world.layout.review('<job>')}."
    await _put_aside(world, key, "", why)


async def _put_aside(world: World, key: str, name: str, why: str) -> None:
    """Put aside, once, what would be a job's folder, manifest or review."""
    if key in world.refused:
        return
    try:
        await quarantine(world, world.layout.quarantined(key), {"key": key, "job": name, "why": why})
    except (StoreError, KeyUnusable) as error:
        if not await refusals.answers(world):
            raise
        log.warning("event=quarantine.not_written key=%r error=%s", key, error)
    world.refused.add(key)
    log.warning("event=job.unfit job=%r key=%r why=%s", name, key, why)


async def _etags(world: World, prefix: str, kind: str) -> dict[str, str]:
    """Every job that has a manifest, or a review, with its etag."""
    found = {}
    async for page in world.store.pages(world.layout.prefix(prefix)):
        for entry in page:
            meaning = world.layout.meaning(entry.key)
            if meaning.kind == kind and not entry.usable:
                await _put_aside(world, entry.key, meaning.job, UNADDRESSED)
            elif meaning.kind == kind:
                found[meaning.job] = entry.etag
            elif meaning.kind == "workbook" and entry.usable:
                await workbook(world, entry.key)
    return found


async def names(world: World) -> None:
    """Find job folders and manifests that nobody told of, by folder names alone."""
    found = set(await _etags(world, "jobs", "manifest"))
    found |= await _folders(world, world.layout.prefix("incoming"))
    unknown = [name for name in sorted(found) if name not in world.ledger.jobs]
    known = [name for name in unknown if not await _refuse_unfit(world, name)]
    seen = await refusals.gets(world, [world.layout.seen(name) for name in known])
    for name, got in zip(known, seen, strict=True):
        if got is None:
            world.ledger.job(name, world.now())


async def _folders(world: World, prefix: str) -> set[str]:
    """The jobs that have something under a prefix of `incoming/`."""
    level = await world.store.level(prefix)
    odd = [entry.key for entry in level.entries if not entry.usable and not entry.etag]  # folders: files have an etag
    for key in odd:
        await _put_aside(world, key, world.layout.rel_of_image(key), UNADDRESSED)
    keys = (entry.key for entry in level.entries if entry.key not in odd)
    jobs, deeper = world.layout.jobs_at(keys, level.folders)
    for folder in deeper:
        jobs |= await _folders(world, folder)
    return jobs


async def chart(world: World, name: str) -> None:
    """Take a whole look at one job and tell the ledger."""
    job, desk = world.ledger.job(name, world.now()), world.desk(name)
    desk.chart_wanted = False
    try:
        found, listing = await _look(world, job)
        if not await _results_known(world, job, found):
            return
    except BaseException:
        desk.chart_wanted = True
        raise
    first = job.charted_at is None
    moved = job.seq != found.begun_seq  # what changed meanwhile may not be on the listing
    was_cancelled = job.cancelled
    world.ledger.chart(name, found, Received(trigger="sweep", at=world.clock.wall()))
    if job.cancelled != was_cancelled:
        log.info("event=job.%s job=%r images=%d", "cancelled" if job.cancelled else "resumed", name, len(job.images))
        revoke(world, name, job.cancelled)
    desk.listing, desk.whole = listing.arrived.text, listing.text
    desk.chart_seq = -1 if moved else job.seq
    if desk.control and desk.control.closed_listing == desk.listing:
        job.as_closed = True
    if first and desk.control and desk.control.listing == desk.listing:
        job.quiet_before, job.last_arrival = desk.control.quiet_seconds, world.now()
    await _remember_quiet(world, job)
    if job.problem or listing.manifest != desk.manifest_etag:
        desk.reopen()
    if found.unsettled:
        # Its writer may be done in a moment; a large job is not looked through for each of them.
        desk.again["chart"] = world.now() + min(5.0, 0.2 + len(job.images) / 2000)
        desk.chart_wanted = True
    await _quarantine(world, name, found)
    if not job.closed:
        await _newer_models(world, name)


async def _remember_quiet(world: World, job: Job) -> None:
    """Write down how long an open job has been quiet, at most about once a minute: a restart counts on."""
    desk = world.desk(job.name)
    if desk.control is None or job.closed:
        return
    same = desk.control.listing == desk.listing
    silent = round(closing.quiet(job, world.now()), 1) if same else 0.0
    if not same or silent - desk.control.quiet_seconds >= QUIET_STEP:
        await control_record.save(world, job.name, {"listing": desk.listing, "quiet_seconds": silent})


def revoke(world: World, name: str, cancelled: bool) -> None:
    """A job was cancelled, or goes on."""
    compiling = world.desk(name).compiling
    for ticket in [*world.ledger.cancelled(name, cancelled), *([compiling] if cancelled and compiling else [])]:
        world.executor.revoke(ticket)


async def _look(world: World, job: Job) -> tuple[Chart, sweep.JobListing]:
    layout, name = world.layout, job.name
    found, listing = Chart(begun=world.now(), begun_seq=job.seq), sweep.JobListing()
    for entries in await _places(world, layout.prefix("incoming"), name):
        sweep.incoming(found, listing, entries, layout, world.store.limits)
    for stage in world.ledger.graph.names:
        if stage in layout.records:
            prefix = layout.prefix(stage)
            for entries in await _places(world, prefix, name):
                sweep.records(found, stage, entries, prefix)
        prefix = layout.prefix("failed") + stage + "/"
        for entries in await _places(world, prefix, name):
            sweep.dead_letters(found, listing, stage, entries, prefix)
    await _of_the_job(world, name, listing)
    manifest, review = await refusals.heads(world, [layout.manifest(name), layout.review(name)])
    listing.manifest = manifest.etag if manifest else ""
    if review is not None:
        await _review(world, job, found, listing, review)
    if listing.done:
        await _done(world, found, listing.done)
    return found, listing


async def _newer_models(world: World, name: str) -> None:
    """Which stages' models were promoted since the job was pinned: they affect new jobs only."""
    pinned = {
        stage: pin.model
        for stage, pin in world.ledger.jobs[name].pins.items()
        if pin.model and _follows(world, stage, pin.function)
    }
    keys = [world.layout.model_current(model.name) for model in pinned.values()]
    now = [in_force(got.data) if got else "" for got in await world.store.gets(keys)]
    moved = {stage: v for (stage, model), v in zip(pinned.items(), now, strict=True) if v not in ("", model.version)}
    world.desk(name).newer_model = moved


def _follows(world: World, stage: str, function: str) -> bool:
    """Whether a stage takes whichever version of its model is in force."""
    known = world.pipeline.stages.get(stage)
    choice = known.model(function) if known and function in known.functions else None
    return choice is not None and choice.version == "current"


async def _of_the_job(world: World, name: str, listing: sweep.JobListing) -> None:
    """The dead letters of `compile` and `notify` count in the digest: deleting one is a retry."""
    layout = world.layout
    entries = await refusals.heads(world, [layout.dead_letter(layout.gather, name)]) if layout.gather else []
    if layout.notify:
        prefix = layout.dead_letter(layout.notify, name + "/").removesuffix(".json")
        entries += [entry async for page in world.store.pages(prefix) for entry in page]
    for entry in entries:
        if entry is not None:
            meaning = layout.meaning(entry.key)
            sweep.note_dead(listing.dead, meaning.stage, meaning.rel, entry)


async def _places(world: World, prefix: str, name: str) -> list[list[Entry]]:
    """A job's objects under a prefix: its folder, and for `unsorted` what lies beside the folders."""
    found = []
    for place, deep in world.layout.job_places(name):
        if deep:
            found += [page async for page in world.store.pages(prefix + place)]
        else:
            found.append((await world.store.level(prefix + place)).entries)
    return found


async def _done(world: World, found: Chart, entry: Entry) -> None:
    got = (await refusals.gets(world, [entry.key]))[0]
    if got is not None:
        folder = world.layout.rel_of_image(entry.key).removesuffix("_DONE")
        found.done = sweep.read_done(sweep.mark_of(got.entry), got.data[: 2**26], folder)


async def _review(world: World, job: Job, found: Chart, listing: sweep.JobListing, entry: Entry) -> None:
    """Which review of the job there is; what is in it is `compile`'s business."""
    found.review = job.review
    if not entry.settled:
        found.unsettled += 1
        return
    listing.review = entry.etag
    desk = world.desk(job.name)
    if job.review is not None and job.review.etag == entry.etag and not desk.review_doubted:
        return
    desk.review_doubted = False
    if entry.size > REVIEW_BYTES:
        problem = f"{entry.key} has {entry.size} bytes; a review may have {REVIEW_BYTES}"
        found.review = ReviewMark(entry.etag, problem=problem)
        return
    (got,) = await refusals.gets(world, [entry.key])
    found.review = ReviewMark(got.entry.etag, hashlib.sha256(got.data).hexdigest()) if got else None


async def _results_known(world: World, job: Job, found: Chart) -> bool:
    """Read what there is of earlier revisions. False: the store refuses it, and the job says so."""
    try:
        await _results(world, job, found)
    except (StoreError, KeyUnusable) as error:
        if not await refusals.believed(world, job.name, "chart"):
            raise
        refused(world, job.name, str(error))
        world.desk(job.name).chart_wanted = True
        return False
    return True


def refused(world: World, name: str, why: str) -> None:
    """A job cannot go on while the store refuses what belongs to it; it is tried again at every look."""
    job = world.ledger.jobs[name]
    job.problem = f"The store refuses what the job needs: {why}"
    job.seq += 1
    desk = world.desk(name)
    desk.again["chart"] = world.now() + min(LONGEST_REFUSED, REFUSED_PAUSE * 2.0**desk.times_refused)
    desk.times_refused = min(desk.times_refused + 1, 20)
    log.warning("event=job.refused job=%s why=%s", name, why)


async def _results(world: World, job: Job, found: Chart) -> None:
    """What is there of earlier revisions: the summary, the members of the last one, receipts."""
    if job.gathering:
        return
    await finals(world, job)
    if job.charted_at is None and job.finals:
        found.prior = await _members(world, job.name, job.finals[-1])


async def finals(world: World, job: Job) -> None:
    """Read from the bucket which final revisions are named, and whose client was not told yet."""
    desk = world.desk(job.name)
    got = (await world.store.gets([world.layout.summary(job.name)]))[0]
    summary = load(Summary, got.data) if got else None
    if job.gathering:
        return  # a newer one is on its way
    if summary is not None:
        desk.summary = summary
        job.finals = list(summary.finals)
        job.seal = summary.last_final.seal if summary.last_final else ""
        job.answered = job.answered or summary.done_answered
        job.dead_gather = summary.final and "failure" in summary.results
    await _receipts(world, job)


async def _members(world: World, name: str, final: LastFinal) -> dict[str, RollEntry]:
    key = world.layout.result(name, f"{final.revision}/members.jsonl")
    got = (await refusals.gets(world, [key]))[0]
    try:
        entries = [RollEntry.read(line) for line in (got.data.splitlines() if got else ())]
    except ValueError:
        return {}  # torn by a power loss: the records are read instead
    return {entry.rel: entry for entry in entries}


async def _receipts(world: World, job: Job) -> None:
    """Which final revisions nobody was told of yet."""
    if not job.finals:
        return
    prefix = world.layout.receipt(job.name, "").removesuffix(".json")
    keys = [e.key async for page in world.store.pages(prefix) for e in page]
    notify = world.pipeline.of_kind("notify")
    if notify:
        dead = world.layout.dead_letter(notify.name, job.name + "/").removesuffix(".json")
        keys += [e.key async for page in world.store.pages(dead) for e in page]
    told = {key.rpartition("/")[2].removesuffix(".json") for key in keys}
    job.untold = [f for f in job.finals if f.revision.removeprefix("r") not in told] if notify else []
    owed = [f for f in job.finals if f.people] if notify else []
    job.untold_people = [f for f in owed if f"{f.revision.removeprefix('r')}.people" not in told]
    if notify and not job.told and not job.untold:
        await _newest_receipt(world, job)


async def _newest_receipt(world: World, job: Job) -> None:
    key = world.layout.receipt(job.name, job.finals[-1].revision.removeprefix("r"))
    got = (await world.store.gets([key]))[0]
    receipt = load(Receipt, got.data) if got else None
    job.told = receipt.outcome if receipt else "dead letter"


async def _quarantine(world: World, name: str, found: Chart) -> None:
    """Note keys that cannot be worked with, once each."""
    desk = world.desk(name)
    for key, why in found.unusable.items():
        if key not in desk.quarantined:
            try:
                await quarantine(world, world.layout.quarantined(key), {"key": key, "job": name, "why": why})
            except (StoreError, KeyUnusable) as error:
                log.warning("event=quarantine.not_written key=%r error=%s", key, error)
                continue  # the next look tries again; nothing else waits for it
            desk.quarantined.add(key)


async def quarantine(world: World, key: str, what: dict[str, str]) -> None:
    """Put aside what nobody can use, whole, with the reason."""
    body = {"type": "trapline.quarantine", "schema": 1, **what, "at": world.clock.wall().isoformat()}
    await world.store.put(key, json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogateescape"))


def reopen(world: World, name: str) -> None:
    """The job's results are to be compiled again."""
    job = world.ledger.jobs[name]
    job.closed, job.closing_since = False, None
    job.seq += 1
