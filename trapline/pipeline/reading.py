"""One settings file → one checked model. Every error is one line: file, place, expectation, remedy."""

from __future__ import annotations

import difflib
import math
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from trapline.errors import ConfigError

M = TypeVar("M", bound=BaseModel)

_SHOWN = 80  # characters of a wrong value that an error repeats
_SETTINGS = "`key: value` settings"
_LONGEST = 4_000_000  # characters of a settings file
_MOST_VALUES = 200_000  # in it, with every alias written out
_DIGITS = 100  # of a number
_DEEPEST = 100  # lists and settings inside each other
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# What pydantic calls a problem → what was expected.
_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list, such as [a, b]",
    "dict_type": _SETTINGS,
    "model_type": _SETTINGS,
    "too_short": "at least one",
}


class _Loader(yaml.SafeLoader):
    """YAML as settings need it: a date and a key such as `on` stay text; a key that is given twice is an error."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > _DEEPEST:  # what deeper nesting costs grows with its square
            raise ValueError("it is nested too deeply")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag == "tag:yaml.org,2002:bool":
                key.tag = "tag:yaml.org,2002:str"
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:timestamp"]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_settings(kind: type[M], path: Path, where: str, hint: str = "") -> M:
    """Read a YAML file into a model. `where` names it in errors. Raises `ConfigError`."""
    raw = _mapping(_parsed(_text(path, where, hint), where), where, hint)
    _check_values(raw, where)
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise explained(f"{where}: ", kind, error) from None


def explained(where: str, kind: type[BaseModel], error: ValidationError) -> ConfigError:
    """The first thing wrong with some settings, as one line. `where` is what stands before the place."""
    problems = error.errors(include_url=False)
    # A misspelt key makes another one missing: it is told first.
    first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    path = [str(part) for part in first["loc"] if not isinstance(part, int) and part != "[key]"]
    place = ".".join(path)
    if first["type"] == "extra_forbidden":
        known = _fields_at(kind, path[:-1])
        return _error(
            f"{where}{place}: unknown key {path[-1]!r}.",
            f"Known here: {', '.join(known)}.{did_you_mean(path[-1], known)}",
        )
    if first["type"] == "missing":
        return _error(f"{where}{place} is missing.", f"Add it; see {place.rpartition('.')[2]!r} in {_page(kind)}.")
    return _error(f"{where}{place or 'the file'}: {_problem(first)}.", f"See {_page(kind)}.")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence naming what was probably meant; empty when nothing is near."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f" Did you mean {close[0]!r}?" if close else ""


def shown(value: object) -> str:
    """A value as an error repeats it: one line, not too long."""
    text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def one_line(text: str, most: int = 300) -> str:
    """A library's message on one line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}…"


# -- the file


def _text(path: Path, where: str, hint: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise _error(f"There is no {path.name} in {path.parent.absolute()}.", hint) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _error(f"{where} is not UTF-8 text (line {line}).", "Save it as UTF-8.") from None
    except OSError as error:
        raise _error(f"{where} cannot be read: {error.strerror}.", "It must be a file that can be read.") from None


def _parsed(text: str, where: str) -> Any:
    try:
        return parsed(text)
    except (yaml.YAMLError, ValueError) as error:
        problem = _yaml_problem(error)
        remedy = "Indent with spaces, never with tabs." if "\\t" in problem else "Correct that line."
        raise _error(f"{where} is not YAML: {problem}.", remedy) from None


def parsed(text: str) -> Any:
    """What YAML text holds. Raises `yaml.YAMLError` or `ValueError`, whatever the text."""
    if len(text) > _LONGEST:
        raise ValueError(f"it has {len(text)} characters, more than {_LONGEST}")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _expanded(node, {})
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (LookupError, AttributeError, TypeError):  # a tag that is given to what cannot be read so
        raise ValueError("a value is not what its tag says") from None
    finally:
        loader.dispose()


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for once every alias is written out; 0 while that is being counted."""
    if id(node) not in known:
        known[id(node)] = 0
        known[id(node)] = 1 + sum(_expanded(inner, known) for inner in _parts(node))
    count = known[id(node)]
    if count == 0:
        raise yaml.MarkedYAMLError(problem="an alias stands for what it is part of", problem_mark=node.start_mark)
    if count > _MOST_VALUES:
        raise yaml.MarkedYAMLError(
            problem=f"it stands for more than {_MOST_VALUES} values", problem_mark=node.start_mark
        )
    return count


def _parts(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if node.tag in _NUMBERS and len(node.value) > _DIGITS:
        raise yaml.MarkedYAMLError(problem=f"a number of {len(node.value)} digits", problem_mark=node.start_mark)
    return ()


def _yaml_problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(getattr(error, "reason", error))


def _mapping(raw: Any, where: str, hint: str) -> dict[Any, Any]:
    if isinstance(raw, dict) and raw:
        return raw
    if not raw and not isinstance(raw, list | bool | int | float):
        raise _error(f"{where} is empty.", hint or "Write `name: value` lines.")
    raise _error(f"{where} holds {_kind_of(raw)}; expected {_SETTINGS}.", hint or "Write `name: value` lines.")


def _kind_of(raw: Any) -> str:
    return "a list" if isinstance(raw, list) else "a line of text" if isinstance(raw, str) else shown(raw)


def _check_values(raw: dict[Any, Any], where: str) -> None:
    """Refuse what YAML can say and JSON cannot: a recipe is made from settings, and workers are sent them."""
    todo: list[tuple[str, Any]] = [("", raw)]
    seen: set[int] = set()
    while todo:
        place, value = todo.pop()
        if isinstance(value, dict | list):
            if id(value) not in seen:
                seen.add(id(value))
                todo += _inner(place, value, where)
        elif isinstance(value, float) and not math.isfinite(value):
            raise _error(f"{where}: {place}: expected a finite number, got {value}.", "Write a number.")
        elif not isinstance(value, str | int | float | None):
            raise _error(f"{where}: {place}: expected text or a number, got {shown(value)}.", "Put it in quotes.")


def _inner(place: str, value: dict[Any, Any] | list[Any], where: str) -> list[tuple[str, Any]]:
    if isinstance(value, list):
        return [(place, part) for part in value]
    before = f"{place}." if place else ""
    for key in value:
        if not isinstance(key, str):
            raise _error(
                f"{where}: {before}{shown(key)}: expected text as a key, got {shown(key)}.", "Put it in quotes."
            )
    return [(before + one_line(key), part) for key, part in value.items()]


# -- the words


def _error(message: str, remedy: str) -> ConfigError:
    return ConfigError(one_line(message, 1000), remedy=remedy)


def _page(kind: type[BaseModel]) -> str:
    return f"docs/reference/{getattr(kind, 'page', 'pipeline.md')}"


def _problem(first: Any) -> str:
    kind, value, told = first["type"], first["input"], first.get("ctx", {})
    if kind == "value_error":
        return str(first["msg"]).removeprefix("Value error, ")
    quotes = "; put it in quotes" if kind == "string_type" and isinstance(value, int | float) else ""
    return f"expected {_expected(kind, told) or first['msg']}, got {shown(value)}{quotes}"


def _expected(kind: str, told: dict[str, Any]) -> str:
    limits = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    for name, words in limits.items():
        if name in told:
            return f"{words} {told[name]:g}" if isinstance(told[name], int | float) else f"{words} {told[name]}"
    return str(told["expected"]) if kind == "literal_error" else _EXPECTED.get(kind, "")


def _fields_at(kind: type[BaseModel], path: list[str]) -> list[str]:
    """The keys that are known at a place, following the models down."""
    for part in path:
        field = kind.model_fields.get(part)
        inner = _model_in(field.annotation if field else None)
        kind = inner or kind
    return [field.alias or name for name, field in kind.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part) for part in get_args(annotation))
    return next((model for model in found if model), None)
