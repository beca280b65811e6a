"""Names that files have had or might have, and what becomes of a good picture under each."""

from __future__ import annotations

DONE, UNUSABLE, IGNORED = "done", "key_unusable", "ignored"

# The row of docs/reference/hostile-inputs.md → names relative to a job's folder; a byte that is no UTF-8 is escaped
# as the system does it.
NAMES: dict[str, tuple[str, tuple[str, ...]]] = {
    "a name that a spreadsheet would run": (
        DONE,
        (
            *("=cmd|'/c calc'!A1.jpg", '=HYPERLINK("http:x").jpg', "+1+1.jpg", "-2+3.jpg", "@SUM(A1).jpg"),
            *(" =1+1.jpg", "＝1+1.jpg", "a,=1+1,b.jpg", 'a";=1+1;".jpg'),
        ),
    ),
    "a name that a browser would run": (
        DONE,
        (
            "<script>alert(1)<／script>.jpg",
            '"><svg onload=alert(1)>.jpg',
            "<img src=x onerror=alert(1)>.jpg",
            "&lt;.jpg",
        ),
    ),
    "a name that a shell or a template would run": (
        DONE,
        (
            "-- rm -rf.jpg",
            "-rf.jpg",
            "$(touch ran).jpg",
            "`id`.jpg",
            "a;b|c&d.jpg",
            "{{7*7}}.jpg",
            "${jndi:ldap:x}.jpg",
            "*.jpg",
        ),
    ),
    "a control character or a line break in a name": (
        UNUSABLE,
        (
            *("a\nb.jpg", "a\r\nb.jpg", "a\tb.jpg", "a\x01\x1f.jpg", "\x1b[2Jcleared.jpg", "del\x7f.jpg"),
            *("\t=1+1.jpg", "\r=1+1.jpg"),
        ),
    ),
    "text direction, invisible letters, other line ends": (
        DONE,
        (
            *("\u202egpj.exe.jpg", "\u2028line.jpg", "\ufeffmark.jpg", "zero\u200bwidth.jpg", "\u0301.jpg"),
            "nel\x85.jpg",
        ),
    ),
    "what looks like an escape, a path or another system's name": (
        DONE,
        (
            *(
                "%2e%2e%2fup.jpg",
                "a%00b.jpg",
                "%.jpg",
                "a+b c.jpg",
                "a#b?c=d&e.jpg",
                "a\\..\\b.jpg",
                "CON.jpg",
                "nul.jpg",
            ),
            *("a .jpg", " .jpg", "a:b.jpg", "~.jpg", "[a].jpg", "'.jpg", '"".jpg', "null.jpg", "None.jpg", "0.jpg"),
        ),
    ),
    "a name like one of the bucket's own": (
        DONE,
        ("_DONE.jpg", "_CANCEL.jpg", "summary.json.jpg", "st7.jpg", "failed/x.jpg", "jobs/x.jpg", "results.jsonl.jpg"),
    ),
    "the same name in other letters": (DONE, ("twin.jpg", "TWIN.JPG", "\u00e9.jpg", "e\u0301.jpg", "ß.jpg", "🦋.jpg")),
    "a name as long as a folder takes": (DONE, ("n" * 231 + ".jpg",)),
    "a name too long, or not UTF-8": (
        UNUSABLE,
        ("n" * 232 + ".jpg", "ü" * 120 + ".jpg", "latin-\udce9.jpg", "\udcff\udcfe.jpg"),
    ),
    "a hidden name, a marker in the wrong place, another suffix": (
        IGNORED,
        (
            ".hidden.jpg",
            "..jpg",
            "...jpg",
            ".trapline/x.jpg",
            "deep/_DONE",
            "deep/_CANCEL",
            "_done",
            "x.jpg.json",
            "x.jpg.exe",
            "jpg",
            "Thumbs.db",
        ),
    ),
}


def names() -> dict[str, str]:
    """Every name and its fate."""
    return {name: fate for fate, several in NAMES.values() for name in several}
