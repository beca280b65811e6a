"""One table of failure codes: nothing in the source uses a code beside it, and everybody says its words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from functions.notify.message import message
from local_dev.failure_codes import page
from trapline.cli.explain import document
from trapline.cli.fate import fate
from trapline.cli.tracing import Explanation, StageStory, words_of
from trapline.errors import CODES, Failure
from trapline.ledger.states import Failed
from trapline.records import DeadLetter, Summary, codes_in_words, load

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for room in ("trapline", "functions") for path in (ROOT / room).rglob("*.py")]
_TABLES = ("FETCH", "CALLBACK", "_FAILED")  # constants that hold codes and nothing else
_BY_NAME = ("grave", "_died", "give_up", "died")  # functions that are handed a code
_NO_CODES = ("trapline/evaluation/", "trapline/cli/models_")  # problems of pictures and files, no failures of images


def produced() -> Iterator[tuple[str, str]]:
    """(code, file) wherever the source gives a failure a code by a literal."""
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        if name != "trapline/errors.py" and not name.startswith(_NO_CODES):
            for node in ast.walk(ast.parse(path.read_text())):
                yield from ((code, name) for code in _codes(node))


def _codes(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        named = [keyword.value for keyword in node.keywords if keyword.arg in ("code", "died")]
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        named += [*node.args] if called in _BY_NAME else []
        named += [*node.args[:4]] if called == "Codes" else []
        yield from (text for value in named for text in _texts(value) if _looks(text))
    elif isinstance(node, ast.Subscript) and getattr(node.value, "id", "") == "CODES":
        yield from _texts(node.slice)
    elif isinstance(node, ast.Assign) and any(getattr(target, "id", "") in _TABLES for target in node.targets):
        values = node.value.values if isinstance(node.value, ast.Dict) else []
        yield from (text for value in values for text in _texts(value))
    elif isinstance(node, ast.Assign) and any(getattr(t, "id", "") in ("code", "_NEVER_HERE") for t in node.targets):
        yield from (text for text in _texts(node.value) if _looks(text))


def _texts(value: ast.expr) -> Iterator[str]:
    """The literals that an expression can come to; what it compares is none."""
    if isinstance(value, ast.IfExp):
        yield from (*_texts(value.body), *_texts(value.orelse))
    elif isinstance(value, ast.BoolOp | ast.Tuple):
        for part in value.values if isinstance(value, ast.BoolOp) else value.elts:
            yield from _texts(part)
    elif isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
        yield value.value


def _looks(text: str) -> bool:
    return text.isidentifier() and text.islower()


def test_every_code_that_the_source_gives_a_failure_is_in_the_table() -> None:
    found = set(produced())
    assert {code for code, _ in found} >= {"empty_file", "worker_died", "callback_refused", "fetch_failed"}
    assert sorted((code, file) for code, file in found if code not in CODES) == []


def test_every_code_of_the_table_is_in_use() -> None:
    text = "".join(path.read_text() for path in SOURCES if path.name != "errors.py")
    assert [code for code in CODES if f'"{code}"' not in text and f"'{code}'" not in text] == []


@pytest.mark.parametrize("code", CODES)
def test_a_code_has_a_meaning_and_a_remedy_that_are_sentences_and_stand_in_the_documentation(code: str) -> None:
    words = CODES[code]
    assert all(text.endswith(".") and (text[0].isupper() or text[0] == "`") for text in (words.meaning, words.remedy))
    again = "yes" if words.retried else "no"
    assert f"| `{code}` | {words.meaning} | {again} | {words.remedy} |" in page().splitlines()


@pytest.mark.parametrize("code", CODES)
def test_dead_letter_status_summary_message_and_explain_say_the_same(code: str) -> None:
    words = CODES[code]
    letter = DeadLetter(stage="detect", job="st7/n", code=code, message="What happened to this one.")
    told = Failed("detect", code, "What happened to this one.", "").told("st7/n/a.jpg")
    summary = Summary.model_validate(
        {"job": "st7/n", "state": "PARTIAL", "final": True, "revision": "r1-0", "folder": "f/"}
        | {"failures_by_code": {code: 1}, "codes": codes_in_words([code])}
    )
    item = SimpleNamespace(job="st7/n", summary=summary, event="completed", links={}, news={})
    body = message(cast(Any, item), cast(Any, SimpleNamespace(isoformat=str)))["data"]
    for said in (letter.model_dump(), told, summary.codes[code], body["codes"][code]):
        assert (said["meaning"], said["remedy"]) == (words.meaning, words.remedy)
    story = Explanation("incoming/st7/n/a.jpg", "st7/n/a.jpg", "st7/n")
    story.stages.append(StageStory("detect", "failed", failure=words_of(letter)))
    explained = fate(story)
    assert words.meaning in explained.what and "What happened to this one." in explained.what
    assert explained.todo.startswith(words.remedy.partition(" Then delete")[0])
    assert words.meaning in document(story)["what"]


def test_what_a_function_says_itself_goes_before_the_codes_own_words() -> None:
    letter = DeadLetter(stage="s", job="j/j", code="function_error", message="m", remedy="Ask Ada.")
    assert (letter.remedy, letter.meaning) == ("Ask Ada.", CODES["function_error"].meaning)
    assert Failure("m", code="function_error", remedy="Ask Ada.").remedy == "Ask Ada."


def test_a_dead_letter_of_an_earlier_or_a_later_release_is_read_with_what_words_there_are() -> None:
    old = b'{"type":"trapline.failure","schema":1,"stage":"s","job":"j/j","code":"timeout","message":"m"}'
    new = old.replace(b'"timeout"', b'"eaten_by_moths"')
    read = [load(DeadLetter, data) for data in (old, new)]
    assert [letter and letter.meaning for letter in read] == [CODES["timeout"].meaning, ""]
