"""The error tree and the failure codes. Nothing here does anything; imports nothing of trapline.

A `TraplineError` is what a person is shown: one line that names the thing, what was expected and the remedy.
A `Failure` is what becomes of one item: it ends as a dead letter or is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass


class TraplineError(Exception):
    """Base of every error a user can be shown. `remedy` says what to do about it."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class ConfigError(TraplineError):
    """`pipeline.yaml`, `function.yaml`, a model card or an option is wrong."""


class ManifestError(TraplineError):
    """A job manifest cannot be used. `code` is the failure code it is quarantined under."""


class KeyUnusable(TraplineError):
    """A key that the store cannot address, or whose derived keys would be too long."""


class EventUnreadable(TraplineError):
    """A message that is no event at all: not JSON, or too large. Nobody keeps it."""


class EventUnknown(TraplineError):
    """A message in JSON that is no event of a known dialect. It is put aside, with the reason."""


class EventForged(TraplineError):
    """A message that is not from whom it says. Nobody keeps it."""


class StoreError(TraplineError):
    """The object store refused or failed. Whether trying again can help is the subclass's name."""


class StoreUnavailable(StoreError):
    """The store could not be reached or answered with a passing error: try again."""


class StoreDenied(StoreError):
    """Credentials, permissions or a missing bucket: trying again does not help."""


class NotFound(StoreError):
    """No object under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"There is no object {key!r}.")
        self.key = key


class Conflict(StoreError):
    """A conditional write lost: the object exists or changed."""


class SurroundingsError(TraplineError):
    """The machine: a port taken, a folder read-only, a disk full, a second engine."""


class Failure(TraplineError):
    """One item failed. `code` is one of `CODES`; `after` (seconds) asks for another try.

    Functions raise or return `Permanent` or `Temporary`; anything else they raise is `function_error` and
    follows the stage's delivery policy.
    """

    retry: bool | None = None

    def __init__(self, message: str, *, code: str = "function_error", remedy: str = "") -> None:
        known = CODES.get(code)
        super().__init__(message, remedy=remedy or (known.remedy if known else ""))
        self.code = code
        self.after: float | None = None


class Permanent(Failure):
    """Trying again cannot help: the item is a dead letter at once."""

    retry = False


class Temporary(Failure):
    """Try again, `after` seconds from now (None: the stage's backoff decides)."""

    retry = True

    def __init__(
        self,
        message: str,
        *,
        after: float | None = None,
        code: str = "function_error",
        remedy: str = "",
    ) -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.after = after


@dataclass(frozen=True)
class Code:
    """A failure code as the documentation, dead letters, statuses and `explain` word it."""

    meaning: str  # one sentence, for a person
    retried: bool  # whether the engine tries again by itself before it gives up
    remedy: str  # what to do


_RETRY = "Then delete the dead letter or run `trapline retry`."

CODES: dict[str, Code] = {
    "empty_file": Code(
        "The file has no bytes.", False, "Copy the file from the card again; an upload may have been cut off."
    ),
    "image_truncated": Code(
        "The image ends before it should.", False, "Copy the file from the card again; the copy was cut off."
    ),
    "image_unreadable": Code(
        "This is not an image that can be read.", False, "Open the file on a computer; if it is damaged, leave it out."
    ),
    "image_too_large": Code(
        "The image has more pixels than `images.max_pixels` allows, or a side of more than 65,535.",
        False,
        "Scale the image down, or raise `images.max_pixels` in pipeline.yaml.",
    ),
    "key_unusable": Code(
        "The name cannot be used as an object key.",
        False,
        "Rename the file: no empty folder names (`//`), no `.` or `..`, no control characters, shorter names.",
    ),
    "function_error": Code(
        "The function raised an error of its own.", True, f"Read the message and `logs/`; mend the function. {_RETRY}"
    ),
    "function_output": Code(
        "The function returned something that is not a record.",
        False,
        f"Return one dict or one Failure per item, in order. {_RETRY}",
    ),
    "store_refused": Code(
        "The store refused to read or write what belongs to the image.",
        True,
        f"Check the credentials' rights on the bucket. {_RETRY}",
    ),
    "timeout": Code("The item took longer than its stage's `timeout`.", True, f"Raise `delivery.timeout`. {_RETRY}"),
    "worker_died": Code(
        "The worker died while it ran this item alone.", True, f"Read `logs/` and the engine's log. {_RETRY}"
    ),
    "out_of_memory": Code(
        "The worker needed more memory than `resources.memory`.", True, f"Raise `resources.memory`. {_RETRY}"
    ),
    "engine_died": Code(
        "The engine itself stopped uncleanly, again and again, while it ran this item alone.",
        True,
        f"Look at the machine's log (memory, power). {_RETRY}",
    ),
    "model_unusable": Code(
        "The stage's model could not be loaded.",
        True,
        f"Check the model's card and file under `models/`. {_RETRY}",
    ),
    "schema_newer": Code(
        "The record was written by a newer release of Trapline.", False, "Upgrade Trapline; nothing was overwritten."
    ),
    "deadline_passed": Code(
        "The job's deadline passed before this ran.", False, "Send the job again with a later deadline."
    ),
    "fetch_refused": Code(
        "The address may not be fetched (private network, scheme, or bucket not allowed).",
        False,
        "Use a public https:// address, or name the host under `stages.fetch.parameters.allow`, "
        "the bucket under `stages.fetch.parameters.buckets` in pipeline.yaml.",
    ),
    "fetch_not_found": Code("There is nothing at this address.", False, f"Check the address in the manifest. {_RETRY}"),
    "fetch_too_large": Code(
        "The answer is larger than `stages.fetch.parameters.max_bytes` allows.",
        False,
        f"Raise `stages.fetch.parameters.max_bytes` in pipeline.yaml. {_RETRY}",
    ),
    "fetch_failed": Code("The address could not be read.", True, f"Check that the server answers. {_RETRY}"),
    "callback_refused": Code(
        "The callback's address may not be called (private network or scheme).",
        False,
        "Use a public https:// address, or name the host under `stages.notify.parameters.allow` in pipeline.yaml.",
    ),
    "callback_failed": Code(
        "The client's callback did not answer with success.", True, f"Check the client's server. {_RETRY}"
    ),
    "notice_failed": Code(
        "Somebody whom `notify: {to: …}` in pipeline.yaml names could not be told.",
        True,
        f"Try the address with `trapline notify --test JOB`. {_RETRY}",
    ),
    "compile_failed": Code("The results could not be compiled.", True, f"Read the message and `logs/`. {_RETRY}"),
    "not_received": Code("`_DONE` names the file, but it never came.", False, "Upload it; the job reopens by itself."),
    "listed_twice": Code("The manifest lists the same image twice.", False, "List each image once."),
    "source_missing": Code(
        "The manifest lists an image that is not in the bucket.", False, "Upload it, then drop the manifest again."
    ),
}
