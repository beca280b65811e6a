"""The frozen records: everything that is written into the bucket as JSON, and the ticket a worker is handed.

Field names are what users read with `mc cat … | jq`. No behaviour beyond reading and writing.
"""

from trapline.records.base import SCHEMA, Frozen, Record, SchemaNewer, load
from trapline.records.control import Inflight, InflightTask, JobControl, Request, Seen
from trapline.records.dead_letter import DeadLetter, codes_in_words, in_words
from trapline.records.events import NEWS, USUAL, Audience, Event, Told
from trapline.records.image import FileRef, ImageRecord, ModelRef, ProducedBy, Received, Source, StageNote, Usage
from trapline.records.manifest import (
    LEAST_LINKS,
    MANIFEST_BYTES,
    MANIFEST_DEPTH,
    MOST_LINKS,
    SECRET_PREFIX,
    Callback,
    Format,
    Listed,
    Manifest,
    PipelineConfig,
    StageChoice,
    read_manifest,
    read_sender,
)
from trapline.records.outcome import ItemOutcome, Outcome
from trapline.records.pin import Pin
from trapline.records.roll import RollEntry
from trapline.records.states import FINAL_STATES, JobState, MemberState, StageState
from trapline.records.status import StageCount, Status
from trapline.records.summary import Changes, LastFinal, Receipt, Summary
from trapline.records.ticket import GatherOrder, Item, NotifyOrder, Previous, Ticket

__all__ = [
    "FINAL_STATES",
    "LEAST_LINKS",
    "MANIFEST_BYTES",
    "MANIFEST_DEPTH",
    "MOST_LINKS",
    "NEWS",
    "SCHEMA",
    "SECRET_PREFIX",
    "USUAL",
    "Audience",
    "Callback",
    "Changes",
    "DeadLetter",
    "Event",
    "FileRef",
    "Format",
    "Frozen",
    "GatherOrder",
    "ImageRecord",
    "Inflight",
    "InflightTask",
    "Item",
    "ItemOutcome",
    "JobControl",
    "JobState",
    "LastFinal",
    "Listed",
    "Manifest",
    "MemberState",
    "ModelRef",
    "NotifyOrder",
    "Outcome",
    "Pin",
    "PipelineConfig",
    "Previous",
    "ProducedBy",
    "Receipt",
    "Received",
    "Record",
    "Request",
    "RollEntry",
    "SchemaNewer",
    "Seen",
    "Source",
    "StageChoice",
    "StageCount",
    "StageNote",
    "StageState",
    "Status",
    "Summary",
    "Ticket",
    "Told",
    "Usage",
    "codes_in_words",
    "in_words",
    "load",
    "read_manifest",
    "read_sender",
]
