"""Numbers for words, kept in a file: categories, of which a job may have any number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from functions.compile.book import opened, stored

_REMEMBERED = 1000  # words whose numbers are known without a look into the file


class Words:
    """Each word's number: 1 for the first that is asked for, 2 for the next. Closed when its block ends."""

    def __init__(self, folder: Path, name: str) -> None:
        self._book = opened(folder, name, "CREATE TABLE words (n INTEGER PRIMARY KEY, word TEXT UNIQUE);")
        self._book.execute("BEGIN")
        self._recent: dict[str, int] = {}

    def number(self, word: str) -> int:
        """The number of a word; it is given one at first sight."""
        known = self._recent.get(word)
        if known is None:
            if len(self._recent) >= _REMEMBERED:
                self._recent.clear()
            known = self._recent[word] = self._looked_up(stored(word))
        return known

    def __contains__(self, word: str) -> bool:
        """Whether a word has a number."""
        return self._book.execute("SELECT 1 FROM words WHERE word = ?", (stored(word),)).fetchone() is not None

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Every number with its word, by number."""
        yield from self._book.execute("SELECT n, word FROM words ORDER BY n")

    def close(self) -> None:
        self._book.close()

    def __enter__(self) -> Words:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _looked_up(self, word: str) -> int:
        self._book.execute("INSERT OR IGNORE INTO words (word) VALUES (?)", (word,))
        (number,) = self._book.execute("SELECT n FROM words WHERE word = ?", (word,)).fetchone()
        return int(number)
