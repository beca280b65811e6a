"""A store that lists keys which obstore cannot address, for want of a real one here that holds them."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.integration.loopback import Handler, Server

PAGE = 3


@contextmanager
def listing_server(keys: dict[str, int]) -> Iterator[str]:
    """Serves `ListObjectsV2` (pages of `PAGE`) and HEAD of a bucket with these keys and sizes; yields its address."""

    class Bucket(Handler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            body = _listing(keys, query).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self) -> None:
            key = unquote(urlsplit(self.path).path).removeprefix("/bucket/")
            self.send_response(200 if key in keys else 404)
            self.send_header("Content-Length", str(keys.get(key, 0)))
            self.send_header("ETag", '"e"')
            self.send_header("Last-Modified", "Sat, 21 Nov 2026 00:00:00 GMT")
            self.end_headers()

    with Server(Bucket) as server:
        yield f"http://127.0.0.1:{server.port}"


def _listing(keys: dict[str, int], query: dict[str, str]) -> str:
    prefix = query.get("prefix", "")
    delimiter = query.get("delimiter", "")
    after = query.get("continuation-token") or query.get("start-after", "")
    items: dict[str, str] = {}
    for key in sorted(keys):
        name, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        item = f"{prefix}{name}{delimiter}" if found else key
        if key.startswith(prefix) and item > after:
            items[item] = "folder" if found else "object"
    page = list(items)[:PAGE]
    more = len(items) > PAGE
    token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
    coded = quote if query.get("encoding-type") == "url" else str
    return (
        f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}"
        + ("<EncodingType>url</EncodingType>" if coded is quote else "")
        + "".join(_item(coded(item), items[item], keys.get(item, 0)) for item in page)
        + "</ListBucketResult>"
    )


def _item(key: str, kind: str, size: int) -> str:
    if kind == "folder":
        return f"<CommonPrefixes><Prefix>{key}</Prefix></CommonPrefixes>"
    return (
        f"<Contents><Key>{key}</Key><Size>{size}</Size><ETag>&quot;e&quot;</ETag>"
        "<LastModified>2026-11-21T00:00:00.000Z</LastModified></Contents>"
    )
