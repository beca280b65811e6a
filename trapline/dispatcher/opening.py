"""Opening a job: its control record, its manifest, its pins."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from functools import lru_cache

from trapline.dispatcher import charting, control_record, effects, refusals
from trapline.dispatcher.desk import Rejected
from trapline.dispatcher.world import World
from trapline.environments.checking import check_functions
from trapline.environments.chosen import needed_for
from trapline.errors import CODES, ConfigError, KeyUnusable, ManifestError, NotFound, StoreError
from trapline.ledger import closing
from trapline.pipeline.reading import shown
from trapline.pipeline.recipe import config_digest, digest, kept_pins, needed_models, resolve_pins
from trapline.records import JobControl, Listed, Manifest, ModelRef, Pin, Ticket, load, read_manifest
from trapline.registry import CARD, card_fields, in_force
from trapline.store.base import Got

log = logging.getLogger("trapline.dispatcher")
_VERSION = re.compile(r"[A-Za-z0-9][\w.-]{0,62}")  # one folder's name
_SHA256 = re.compile(r"[0-9a-f]{64}")


async def engine_record(world: World) -> None:
    """What was fixed at first use must still hold. Raises `ConfigError`."""
    key = world.layout.engine
    got = (await world.store.gets([key]))[0]
    depth = world.pipeline.spec.jobs.depth
    if got is None:
        body = f'{{"type":"trapline.engine","schema":1,"pipeline":"{world.pipeline.name}","depth":{depth}}}'
        await world.store.put(key, body.encode())
        return
    fixed = _fixed_depth(got.data)
    if fixed is None:  # torn by a power loss: as if it were not there
        await world.store.delete([key])
        await engine_record(world)
    elif fixed != depth:
        raise ConfigError(
            f"pipeline.yaml: jobs.depth is {depth}, but this bucket was begun with {fixed}.",
            remedy=f"Set jobs.depth to {fixed}, or use another bucket or `root:`.",
        )


def _fixed_depth(data: bytes) -> int | None:
    try:
        fixed = json.loads(data)["depth"]
    except (ValueError, KeyError, TypeError):
        return None
    return fixed if isinstance(fixed, int) else None


async def open_job(world: World, name: str) -> None:
    """Read what is known about a job and pin its recipes; a changed manifest pins anew."""
    desk, job = world.desk(name), world.ledger.job(name, world.now())
    layout = world.layout
    desk.stale = False
    desk.since = world.now() if desk.since is None else desk.since
    (control,) = await refusals.gets(world, [layout.control_job(name)], refusals.SURE)
    unread = desk.control is None
    try:
        (manifest,) = await world.store.gets([layout.manifest(name)])
    except (StoreError, KeyUnusable) as error:
        if not await refusals.believed(world, name, "open"):
            raise
        charting.refused(world, name, str(error))
        desk.opened = True
        return
    if desk.control is None:
        known = load(JobControl, control.data) if control else None
        desk.fresh = desk.fresh or known is None
        desk.control = known or JobControl(job=name, accepted_at=world.clock.wall())
    desk.rejected = None
    job.problem, job.answered = "", job.answered or desk.control.answered
    try:
        await _accept(world, name, manifest)
    except (ManifestError, ConfigError, KeyUnusable) as error:
        await _refuse(world, name, str(error), manifest)
    except StoreError:
        if unread:
            desk.control = None  # what was written may stand there although its answer was lost: it is read again
        raise
    desk.opened = not desk.stale
    job.paused = not desk.opened and job.paused


async def _accept(world: World, name: str, got: Got | None) -> None:
    desk, job = world.desk(name), world.ledger.jobs[name]
    desk.manifest_etag = got.entry.etag if got else ""
    world.layout.check_job(name)
    manifest = read_manifest(got.data, world.layout.manifest(name)) if got else None
    config = config_digest(world.pipeline, manifest)
    control = desk.control or JobControl(job=name)
    if control.seal and control.pins and control.config == config and not _fit(world, control):
        control = await _with_new_stages(world, control, manifest)
    same = _fit(world, control) and control.config == config
    if not same or control.anew:
        await read_models(world)
    if desk.stale:
        return  # somebody asked for it anew meanwhile: it is opened again
    if not same or control.anew:
        held = kept_pins(world.pipeline, control, config) if _fit(world, control) else {}
        keep = {stage: pin for stage, pin in held.items() if stage not in control.anew}
        pins = resolve_pins(world.pipeline, manifest, world.models, keep)
        if desk.refused and desk.refused in (pin.recipe for pin in pins.values()):
            why = f"A worker cannot reproduce the job's recipe: {desk.refused_why}."
            raise ConfigError(why, remedy="Restart the engine.")
        _check_outputs(world, manifest, pins)
        control = await control_record.save(world, name, {"pins": pins, "config": config, "anew": ()})
    desk.control = control
    world.ledger.pinned(name, control.pins)
    if manifest is not None and got is not None:
        await _list(world, name, manifest, got)
    elif job.manifest is not None:
        job.manifest, job.listed, job.extra = None, {}, set()
        desk.chart_wanted = True


def _check_outputs(world: World, manifest: Manifest | None, pins: dict[str, Pin]) -> None:
    """Libraries that a manifest's `outputs` need; the pipeline's own were checked before the start."""
    gather = world.pipeline.of_kind("gather")
    if manifest is None or manifest.outputs is None or gather is None:
        return
    function = gather.functions[pins[gather.name].function]
    more = needed_for(function, pins[gather.name].parameters)
    if more:
        check_functions(world.pipeline.folder, {function.name: function}, {function.name: more})


async def _with_new_stages(world: World, control: JobControl, manifest: Manifest | None) -> JobControl:
    """A job that was finished keeps its pins; stages that the pipeline got since then pass its images through."""
    await read_models(world)
    pins = {}
    for name, pin in resolve_pins(world.pipeline, manifest, world.models).items():
        off = pin.model_copy(update={"enabled": False, "recipe": digest([pin.recipe, "passed through"])})
        pins[name] = control.pins.get(name, off)
    return control.model_copy(update={"pins": pins})


def _fit(world: World, control: JobControl) -> bool:
    """Whether a job's pins are of the pipeline's present stages and functions."""
    stages = world.pipeline.stages
    if control.pins.keys() != stages.keys():
        return False
    return all(pin.function in stages[name].functions for name, pin in control.pins.items())


async def _list(world: World, name: str, manifest: Manifest, got: Got) -> None:
    desk, job = world.desk(name), world.ledger.jobs[name]
    targets = _targets(world, name, manifest)
    said = digest(without_delivery(manifest))
    if job.manifest is None or said != desk.manifest_digest:
        world.ledger.listed(name, manifest, targets, world.now())
        desk.chart_wanted = True
    job.manifest, job.priority = manifest, manifest.priority
    desk.manifest_digest = said
    await _set_deadline(world, name, manifest)


def without_delivery(manifest: Manifest) -> dict[str, object]:
    """What of a manifest decides about its results; priority and callback do not, but for a form that is written."""
    said = manifest.model_dump(mode="json", exclude={"callback", "priority", "deadline", "outputs"})
    outputs = {} if manifest.outputs is None else {"outputs": list(manifest.outputs)}
    form = {} if manifest.told_as == "standard" else {"told_as": manifest.told_as}
    return {**said, **outputs, **form}


def without_tokens(manifest: Manifest) -> dict[str, object]:
    """A manifest as functions may see it."""
    told = {"callback": {"format": manifest.told_as}} if manifest.callback else {}
    return {**manifest.model_dump(mode="json", exclude={"callback"}), **told}


def _targets(world: World, name: str, manifest: Manifest) -> dict[str, tuple[str, str, str]]:
    targets: dict[str, tuple[str, str, str]] = {}
    for listed in manifest.sourceImages:
        rel, url = _target(world, name, listed)
        if rel in targets and targets[rel][2] != url:
            raise ManifestError(f"sourceImages: {listed.id!r} is listed twice.", remedy=CODES["listed_twice"].remedy)
        targets.setdefault(rel, (listed.id, listed.eventId or "", url))
    return targets


def _target(world: World, name: str, listed: Listed) -> tuple[str, str]:
    """(rel, url to fetch): an image already in the job's own folder is used in place."""
    rel, here = world.layout.listed(name, world.pipeline.spec.bucket, listed.id, listed.url)
    if here:
        world.layout.check(rel, world.layout.records, world.store.limits.key, world.store.limits.segment)
        return rel, ""
    if world.ledger.graph.fetch < 0:
        own = world.layout.image(f"{name}/")
        raise ManifestError(
            f"sourceImages: {listed.id!r} is not under {own}, and this pipeline has no stage that fetches.",
            remedy="Add a stage with `function: fetch, from: jobs/, to: incoming/`.",
        )
    return rel, listed.url


async def _set_deadline(world: World, name: str, manifest: Manifest) -> None:
    job, control = world.ledger.jobs[name], world.desk(name).control
    job.deadline_at = None
    if manifest.deadline is not None and control is not None and control.accepted_at is not None:
        passed = (world.clock.wall() - control.accepted_at).total_seconds()
        job.deadline_at = world.now() + manifest.deadline.total_seconds() - passed
    passed_before = job.deadline_passed or (control is not None and control.deadline_passed)
    job.deadline_passed = passed_before and job.deadline_at is not None and job.deadline_at <= world.now()
    if passed_before and not job.deadline_passed:
        await _revive(world, name)


async def _revive(world: World, name: str) -> None:
    """The deadline was moved: what it had cut off runs after all."""
    job, layout = world.ledger.jobs[name], world.layout
    for rel, failure in list(closing.failures(world.ledger.graph, job)):
        if failure.code == "deadline_passed":
            await world.store.delete([layout.dead_letter(failure.stage, rel)])
            world.ledger.exhumed(name, failure.stage, rel)


async def _refuse(world: World, name: str, why: str, manifest: Got | None) -> None:
    """A job that cannot be worked on says so in its status; its manifest is put aside with the reason."""
    job, desk = world.ledger.jobs[name], world.desk(name)
    job.problem = why
    if manifest is not None and not desk.refused:  # a worker that disagrees is no fault of the manifest's
        desk.rejected, desk.rejected_told = Rejected(hashlib.sha256(manifest.data).hexdigest(), why), set()
    if desk.told_problem == why:
        return
    desk.told_problem = why
    job.seq += 1
    log.warning("event=job.refused job=%s why=%s", name, why)
    if manifest is not None:
        await charting.quarantine(
            world, world.layout.quarantined(manifest.entry.key), {"key": manifest.entry.key, "job": name, "why": why}
        )


async def read_models(world: World) -> None:
    """Which model every name and version stands for now. Raises `ConfigError`."""
    for name, version in sorted(needed_models(world.pipeline)):
        world.models[(name, version)] = await _model(world, name, version)


async def _model(world: World, name: str, version: str) -> ModelRef:
    layout = world.layout
    real = version
    try:
        if version == "current":
            real = in_force((await world.store.get(layout.model_current(name))).data)
            _check_version(real, layout.model_current(name))
        data = (await world.store.get(layout.model(name, real, CARD))).data
    except NotFound as missing:
        raise ConfigError(
            f"Model {name!r} ({version}) is not in the bucket: there is no {missing.key}.",
            remedy=f"Add it with `trapline models add FILE --name {name}`, or correct the stage's `model`.",
        ) from None
    return ModelRef(name=name, version=real, sha256=_sha256(data, layout.model(name, real, CARD)))


@lru_cache(maxsize=16)
def _sha256(card: bytes, key: str) -> str:
    """The hash that a card says. Kept, since a card with many labels takes seconds to read. Raises `ConfigError`."""
    said = card_fields(card, key).get("sha256")
    if not isinstance(said, str) or not _SHA256.fullmatch(said):
        raise ConfigError(
            f"{key}: sha256 is {shown(said)}.",
            remedy="Write the file's 64 hexadecimal digits, as `sha256sum` prints them.",
        )
    return said


def _check_version(version: str, key: str) -> None:
    """What a person wrote into `current` becomes part of keys, messages and recipes."""
    if not _VERSION.fullmatch(version):
        raise ConfigError(
            f"{key} holds {shown(version)}, which is no version.",
            remedy="Write one such as 1.0.0 there, or have it written: `trapline models promote NAME VERSION`.",
        )


def pin_anew(world: World, ticket: Ticket, why: str) -> None:
    """A worker cannot reproduce the job's recipe: the job is pinned anew, whole."""
    log.warning("event=job.pinned_anew job=%s stage=%s why=%s", ticket.job, ticket.stage, why)
    job, desk = world.ledger.jobs.get(ticket.job), world.desk(ticket.job)
    if job is not None and desk.control is not None:
        desk.control = desk.control.model_copy(update={"pins": {}})
        desk.reopen()
        job.paused = True
        desk.refused, desk.refused_why = ticket.pin.recipe, why
        desk.again["open"] = world.now() + 2.0  # a worker that never agrees must not spin


def deadline(world: World, name: str) -> None:
    """The job's deadline passed: it closes; what did not run becomes dead letters."""
    tickets, graves = world.ledger.deadline(name)
    for ticket in tickets:
        world.executor.revoke(ticket)
    effects.queue(world, graves)


async def repin_stage(world: World, name: str, stage: str) -> None:
    """`notify` reads a revision's own summary: its recipe alone is brought up to date."""
    job, control = world.ledger.jobs[name], world.desk(name).control
    await read_models(world)
    pins = {**job.pins, stage: resolve_pins(world.pipeline, job.manifest, world.models)[stage]}
    job.pins = pins
    if control is not None:
        await control_record.save(world, name, {"pins": pins})
