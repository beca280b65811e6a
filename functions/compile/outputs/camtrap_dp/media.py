"""`media.csv`: the images of a job that were read and have a capture time."""

from __future__ import annotations

import mimetypes
import re
from urllib.parse import quote

from functions.compile.book import stored
from functions.compile.cells import cell, row
from functions.compile.outputs.camtrap_dp.deployments import deployment_id
from functions.compile.outputs.camtrap_dp.times import written
from functions.compile.picture import Picture
from functions.compile.results import Results
from trapline.records.deployments import identity

COLUMNS = (
    *("mediaID", "deploymentID", "captureMethod", "timestamp", "filePath", "filePublic", "fileName", "fileMediatype"),
    *("exifData", "favorite", "mediaComments"),
)
_PLAIN = re.compile(r"(?![./~'])(?!.*\.\.)[^\x00-\x1f\x7f]*")  # what the format takes as a path
_FORMATS = {"JPEG": "image/jpeg", "MPO": "image/jpeg", "PNG": "image/png", "TIFF": "image/tiff", "WEBP": "image/webp"}


def left_out(picture: Picture) -> str:
    """Why an image is not in the package; empty where it is."""
    if picture.state != "done":
        return (picture.failure or {}).get("code") or picture.state
    return "" if picture.taken else "no_capture_time"


def line(results: Results, picture: Picture) -> bytes:
    """An image's row."""
    assert picture.taken is not None
    project = results.parameters["project"]
    methods = project["captureMethod"]
    return row(
        (
            picture.rel,
            deployment_id(results, identity(picture.deployment)),
            methods[0] if len(methods) == 1 else None,
            written(picture.taken, picture.timezone),
            _path(picture, project.get("media", {}).get("base")),
            project.get("media", {}).get("public", False),
            picture.rel.rpartition("/")[2],
            _media_type(picture),
            *(None, None, None),
        )
    )


def _path(picture: Picture, base: str | None) -> str:
    """The image's address under the project's `media.base`, or else its key; escaped where the format needs it."""
    key = stored(picture.key or picture.rel)
    if base:
        return base.rstrip("/") + "/" + quote(key).replace("..", "%2E%2E")
    if cell(key) == key and _PLAIN.fullmatch(key):
        return key
    escaped = quote(key).replace("..", "%2E%2E")
    return f"%{ord(escaped[0]):02X}{escaped[1:]}" if escaped[0] in ".~-" else escaped.lstrip("/")


def _media_type(picture: Picture) -> str:
    known = _FORMATS.get(str(picture.image.get("format"))) or mimetypes.guess_type(picture.rel)[0] or ""
    return known if known.startswith("image/") else "image/jpeg"
