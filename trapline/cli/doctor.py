"""`trapline doctor`: the store, the keys, the bucket and its rules, each looked at, with what mends it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from trapline.cli import words
from trapline.cli.bucket_said import events_of
from trapline.cli.canary import Heard, release
from trapline.cli.place import Place
from trapline.errors import ConfigError, NotFound, StoreError, StoreUnavailable, TraplineError
from trapline.store.notifications import NotConfigurable, Rule, everything_told, telling, untold, wanted
from trapline.store.notifications_boto import BucketNotifications
from trapline.store.open import open_store
from trapline.store.probing_boto import Probe
from trapline.store.s3 import S3Settings, S3Store

Level = Literal["ok", "warn", "fail"]
EXIT_CODES: dict[Level, int] = {"ok": 0, "warn": 3, "fail": 1}
STYLES: dict[Level, str] = {"ok": "green", "warn": "yellow", "fail": "red"}
SKEW_WARNED, SKEW_REFUSED = 60, 900  # seconds

_WRITTEN = ("control", "results", "receipts", "status", "failed", "logs", "files", "quarantine", "models")
_LISTED = ("incoming", "jobs")  # a probe there would be taken for somebody's upload


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    level: Level
    message: str
    mend: str = ""  # what to do about it; empty when nothing is wrong


def doctor(place: Place, *, canary: float, as_json: bool) -> int:
    """Check everything; returns the exit code. `canary`: seconds to wait for events; 0: none is put."""
    found: list[Finding] = []
    for finding in examine(place, canary):
        found.append(finding)
        if not as_json:
            _say(finding)
    worst = max((finding.level for finding in found), key=list(EXIT_CODES).index)
    if as_json:
        checks = [asdict(finding) for finding in found]
        words.emit({"bucket": place.bucket, "endpoint": place.endpoint, "level": worst, "checks": checks})
    return EXIT_CODES[worst]


def examine(place: Place, seconds: float) -> Iterator[Finding]:
    """One finding after another; it ends where a failure leaves nothing more to be asked."""
    if place.endpoint is None and place.served() is None:
        yield Finding("endpoint", "fail", f"No engine serves {place.data}.", "trapline up, in another terminal")
        return
    try:
        settings = place.s3()
    except TraplineError as error:
        yield _failed(_culprit(error), error)
        return
    reached = list(_reached(place, settings))
    yield from reached
    if any(finding.level == "fail" for finding in reached):
        return
    store = open_store(settings)
    yield from _permissions(place, store)
    yield _conditional(place, store)
    yield _versions(settings)
    yield _notifications(place, settings)
    yield from _canary(place, store, seconds)


def _reached(place: Place, settings: S3Settings) -> Iterator[Finding]:
    try:
        probe = Probe(settings)
        source = probe.keys() if place.endpoint is not None else f"{place.keys_file}"
        ahead = probe.clock(place.layout.prefix("control"))
    except TraplineError as error:
        yield _failed(_culprit(error), error)
        return
    yield Finding("endpoint", "ok", f"{settings.endpoint or 'AWS'} answers.")
    yield Finding("credentials", "ok", f"Taken from {source}, and accepted.")
    yield Finding("bucket", "ok", f"{settings.bucket!r} is there.")
    yield clock(ahead)


def _culprit(error: TraplineError) -> str:
    if isinstance(error, StoreUnavailable):
        return "endpoint"
    if "clock" in error.message:
        return "clock"
    if error.message.startswith(("There is no bucket", "The bucket")):
        return "bucket"
    return (
        "endpoint" if error.message.startswith(("The endpoint", "The CA bundle", "The certificate")) else "credentials"
    )


def clock(ahead: float | None) -> Finding:
    """What a difference of so many seconds means: S3 refuses requests that are too old or too new."""
    if ahead is None:
        return Finding("clock", "ok", "The store does not tell its time, and takes ours.")
    way = "ahead of" if ahead > 0 else "behind"
    said = f"This machine's clock is {words.duration(abs(ahead))} {way} the store's."
    if abs(ahead) < SKEW_WARNED:
        return Finding("clock", "ok", said)
    return Finding("clock", "fail" if abs(ahead) >= SKEW_REFUSED else "warn", said, "timedatectl set-ntp true")


def _permissions(place: Place, store: S3Store) -> Iterator[Finding]:
    layout = place.layout
    written = [layout.prefix(name) for name in (*_WRITTEN, *layout.records)]
    listed = [layout.prefix(name) for name in _LISTED]
    wrong = [
        *filter(None, (_listing(store, prefix) for prefix in listed)),
        *filter(None, (_writing(store, f"{prefix}.doctor/{uuid.uuid4().hex}") for prefix in written)),
    ]
    yield from wrong
    if not wrong:
        told = f"Objects under {len(written)} prefixes can be written, read, listed and deleted"
        yield Finding("permissions", "ok", f"{told}; {' and '.join(listed)} can be listed.")


def _listing(store: S3Store, prefix: str) -> Finding | None:
    try:
        store.level(prefix)
    except TraplineError as error:
        return _forbidden("list", prefix, error)
    return None


def _writing(store: S3Store, key: str) -> Finding | None:
    """Write, read, list and delete a key of no meaning; it is gone afterwards, if it may be."""
    prefix, doing = key.rpartition("/")[0] + "/", "write"
    try:
        store.put(key, b"trapline doctor")
    except TraplineError as error:
        return _forbidden(doing, prefix, error)
    try:
        doing = "read"
        store.get(key)
        doing = "list"
        store.level(prefix)
        doing = "delete"
    except TraplineError as error:
        return _forbidden(doing, prefix, error)
    finally:
        undone = _undone(store, key)
    return undone


def _undone(store: S3Store, key: str) -> Finding | None:
    try:
        store.delete(key)
        store.head(key)
    except NotFound:
        return None
    except TraplineError as error:
        return _forbidden("delete", key, error)
    return Finding(
        "permissions", "fail", f"{key} was deleted and is still there.", "Look at the bucket's object locks."
    )


def _forbidden(doing: str, where: str, error: TraplineError) -> Finding:
    return Finding("permissions", "fail", f"Cannot {doing} {where}: {error.message}", error.remedy)


def _conditional(place: Place, store: S3Store) -> Finding:
    alone = place.endpoint is None
    try:
        holds = store.probe(f"{place.layout.prefix('control')}.doctor/")
    except StoreError as error:
        return Finding("conditional writes", "warn", error.message, error.remedy)
    if holds:
        return Finding("conditional writes", "ok", "Kept: of two engines on this bucket, one gives way.")
    if alone:
        return Finding("conditional writes", "ok", "Ignored; the data folder's lock keeps a second engine away.")
    return Finding(
        "conditional writes",
        "warn",
        "Ignored by this store (or this versioned bucket): nothing keeps a second engine away.",
        "Serve this bucket from one place only.",
    )


def _versions(settings: S3Settings) -> Finding:
    versioned = Probe(settings).versioned()
    if versioned:
        return Finding(
            "versioning",
            "warn",
            "The bucket keeps every version of what the engine writes, statuses too, "
            "and what this command wrote and deleted.",
            "Add a lifecycle rule that expires noncurrent versions, or suspend versioning.",
        )
    return Finding("versioning", "ok", "Off." if versioned is False else "The store does not say.")


def _notifications(place: Place, settings: S3Settings) -> Finding:
    if place.endpoint is None:
        return Finding("notifications", "ok", "The embedded store's folder is watched; it needs no rules.")
    bucket = BucketNotifications(settings)
    try:
        rules = everything_told(bucket.read())
    except NotConfigurable as error:
        steps = "trapline bucket-events setup tells what to do by hand"
        return Finding("notifications", "warn", f"{error.message} Sweeps find what is uploaded.", steps)
    except (StoreError, ConfigError) as error:
        return Finding("notifications", "warn", error.message, error.remedy)
    asked = wanted(place.pipeline.name, place.layout, "")
    lacking = [_asked(rule) for rule in untold(asked, rules)]
    used = sorted({one.target for rule in asked for one in telling(rule, rules)})
    addresses = bucket.addresses_of(used)
    who = " and ".join(addresses.get(target) or target for target in used) or "nobody"
    if not lacking:
        return Finding("notifications", "ok", f"The bucket tells {who} of everything that matters.")
    said = f"The bucket does not tell of {', '.join(lacking)}; sweeps find what is there."
    if used:
        said += f" Of the rest it tells {who}."
    return Finding("notifications", "warn", said, "trapline bucket-events setup --url URL")


def _asked(rule: Rule) -> str:
    return f"{rule.prefix} ({events_of(rule)})"


def _canary(place: Place, store: S3Store, seconds: float) -> Iterator[Finding]:
    """Which triggers of the engine tell of an upload, how soon, and whether its key came through."""
    if not seconds:
        return
    try:
        came = release(store, place.layout, seconds)
    except TraplineError as error:
        yield Finding(
            "canary",
            "fail",
            f"It could not be put under {place.layout.prefix('incoming')}: {error.message}",
            error.remedy,
        )
        return
    yield from _heard(came.heard, seconds)
    for key, why in came.left.items():
        yield Finding("canary", "warn", f"{key!r} stays: {why.message}", f"Delete it with keys that may. {why.remedy}")


def _heard(heard: list[Heard], seconds: float) -> Iterator[Finding]:
    for one in (one for one in heard if one.intact):
        yield Finding("canary", "ok", f"{one.trigger} told of an upload {one.seconds:.1f} s later, its key intact.")
    broken = {one.trigger: one.key for one in heard} if heard and not any(one.intact for one in heard) else {}
    for trigger, key in broken.items():
        told = f"{trigger} told of {key!r}, which is not what was uploaded."
        yield Finding(
            "canary", "fail", told, "Report it with the store's name and release; sweeps find what is uploaded."
        )
    if not heard:
        yield Finding(
            "canary",
            "warn",
            f"No trigger of an engine told of an upload within {seconds:g} s; sweeps find what is uploaded.",
            "Run `trapline up` with a trigger for this store, and `trapline bucket-events setup`. Where both were "
            "done, check the address that is told: host, path, user and password; the engine's log tells of whom it "
            "turned away (inbound.denied, inbound.not_found).",
        )


def _failed(check: str, error: TraplineError) -> Finding:
    return Finding(check, "fail", error.message, error.remedy)


def _say(finding: Finding) -> None:
    out = words.console()
    words.say(out, f"{finding.level:<5} {finding.check}: {words.safe(finding.message)}", STYLES[finding.level])
    if finding.mend:
        words.say(out, f"      → {finding.mend}")
