"""What `pipeline.yaml` and `function.yaml` are told when they are wrong: one line, with place, expectation, remedy."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from trapline.errors import ConfigError
from trapline.pipeline.load import load_pipeline, resolve_parameters
from trapline.store.memory import MemoryStore
from trapline.testing import Simulated

BASIC = Path(__file__).parents[1] / "functions" / "basic"
SEE = "See docs/reference/pipeline.md."
SEE_FUNCTION = "See docs/reference/function.md."
EXAMPLE = """\
name: traps
bucket: traps
triggers: [folder]
jobs: {depth: 2, settle: PT30M}
stations: {st7: {latitude: 55.6, timezone: Europe/Copenhagen}}
stages:
  fetch: {function: fetch, from: jobs/, to: incoming/}
  detect: {function: detect, from: incoming/, to: detections/, type: OBJECT_DETECTION}
  classify: {function: classify, from: detections/, to: classifications/, when: {label: [insect], confidence: 0.2}}
  compile: {function: compile, from: classifications/, to: results/, gather: job}
  notify: {function: notify, from: results/, to: receipts/}
"""


@dataclass
class Project:
    folder: Path

    def write(self, text: str | bytes) -> None:
        (self.folder / "pipeline.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())

    def function(self, name: str, change: Callable[[str], str]) -> None:
        path = self.folder / "functions" / name / "function.yaml"
        path.write_text(change(path.read_text()))

    def error(self) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            load_pipeline(self.folder)
        return caught.value


@pytest.fixture(name="project")
def _project(tmp_path: Path) -> Project:
    shutil.copytree(BASIC / "functions", tmp_path / "functions")
    project = Project(tmp_path)
    project.write(EXAMPLE)
    return project


def check(error: ConfigError, place: str, said: str, remedy: str) -> None:
    """One line that names the place, what is wrong there, and what to do."""
    assert re.match(re.escape(place) + r"\W", error.message), error.message
    assert said in error.message
    assert remedy in error.remedy
    assert error.remedy
    assert str(error).isprintable(), repr(str(error))
    assert len(str(error)) < 1000


def changed(old: str, new: str) -> str:
    assert EXAMPLE.count(old) == 1, old
    return EXAMPLE.replace(old, new)


DETECT = "detect: {function: detect, from: incoming/, to: detections/, type: OBJECT_DETECTION}"
IN_DETECT = "type: OBJECT_DETECTION"
LATE = "  late: {function: detect, from: incoming/, to: late/}\n"


def with_detect(setting: str) -> str:
    return changed(IN_DETECT, f"{IN_DETECT}, {setting}")


WRONG: dict[str, tuple[str | bytes, str, str, str]] = {
    # what is wrong: (pipeline.yaml, place, what is said, the remedy)
    "an unknown key": (EXAMPLE + "stagess: {}\n", "pipeline.yaml: stagess", "unknown key", "Did you mean 'stages'?"),
    "an unknown key in a section": (
        changed("settle:", "setle:"),
        "pipeline.yaml: jobs.setle",
        "unknown key",
        "Known here: depth, settle, refresh, tracked. Did you mean 'settle'?",
    ),
    "a misspelt key of a stage, and so a missing one": (
        changed("to: detections/", "too: detections/"),
        "pipeline.yaml: stages.detect.too",
        "unknown key",
        "Did you mean 'to'?",
    ),
    "an unknown key in `when`": (
        changed("confidence:", "confidance:"),
        "pipeline.yaml: stages.classify.when.confidance",
        "unknown key",
        "Did you mean 'confidence'?",
    ),
    "a key given twice": (
        EXAMPLE + "name: again\n",
        "pipeline.yaml is not YAML",
        "line 12: 'name' is given twice",
        "line",
    ),
    "a key that is no text": (
        changed("st7:", "7:"),
        "pipeline.yaml: stations.7",
        "expected text as a key, got 7",
        "Put it in quotes",
    ),
    "a key that YAML takes for a truth": (
        changed("st7:", "no:"),
        "pipeline.yaml: stations.false",
        "got false",
        "quotes",
    ),
    "no name": (
        EXAMPLE.replace("name: traps\n", ""),
        "pipeline.yaml: name",
        "is missing",
        "docs/reference/pipeline.md",
    ),
    "no stages": ("name: traps\n", "pipeline.yaml: stages", "is missing", "Add it; see 'stages'"),
    "stages of nothing": ("name: traps\nstages:\n", "pipeline.yaml: stages", "settings, got nothing", SEE),
    "an empty list of stages": ("name: traps\nstages: {}\n", "pipeline.yaml: stages", "expected at least one", SEE),
    "a stage that is a word": (
        "name: t\nstages: {detect: detect}\n",
        "pipeline.yaml: stages.detect",
        "got 'detect'",
        SEE,
    ),
    "a stage without from": (
        changed("from: incoming/, ", ""),
        "pipeline.yaml: stages.detect.from",
        "is missing",
        "Add it; see 'from' in docs/reference/pipeline.md",
    ),
    "a stage without to": (changed(", to: detections/", ""), "pipeline.yaml: stages.detect.to", "is missing", "Add it"),
    "a bad name": (
        changed("name: traps", "name: Moth Traps"),
        "pipeline.yaml: name",
        "'Moth Traps' is not a name",
        SEE,
    ),
    "a name that is a number": (
        changed("name: traps", "name: 5"),
        "pipeline.yaml: name",
        "got 5; put it in quotes",
        SEE,
    ),
    "a bad stage name": (
        changed("  detect: {", "  De/tect: {"),
        "pipeline.yaml: stages.De/tect",
        "write lower-case letters",
        SEE,
    ),
    "a bad station": (changed("st7:", "st7/x:"), "pipeline.yaml: stations.st7/x", "the first folder of its jobs", SEE),
    "a bad bucket": (
        changed("bucket: traps", "bucket: ../traps"),
        "pipeline.yaml: bucket",
        "write 3 to 63 lower-case letters",
        SEE,
    ),
    "an address for a bucket": (
        changed("bucket: traps", "bucket: 10.0.0.1"),
        "pipeline.yaml: bucket",
        "'10.0.0.1'",
        SEE,
    ),
    "a bucket with two dots": (changed("bucket: traps", "bucket: a..b"), "pipeline.yaml: bucket", "'a..b' is not", SEE),
    "a bad duration": (
        changed("PT30M", "30 minutes"),
        "pipeline.yaml: jobs.settle",
        "'30 minutes' is not an ISO 8601 duration; write for example PT30S",
        SEE,
    ),
    "a duration that is a number": (changed("PT30M", "30"), "pipeline.yaml: jobs.settle", "30 is not an ISO 8601", SEE),
    "a duration without end": (
        changed("PT30M", "P9999999999D"),
        "pipeline.yaml: jobs.settle",
        "write for example",
        SEE,
    ),
    "sweeps without pause": (
        EXAMPLE + "sweeps: {open: PT0S}\n",
        "pipeline.yaml: sweeps.open",
        "write PT1S or more",
        SEE,
    ),
    "a bad time zone": (
        changed("Europe/Copenhagen", "Europe/Kopenhagen"),
        "pipeline.yaml: stations.st7.timezone",
        "'Europe/Kopenhagen' is not an IANA time zone such as Europe/Copenhagen",
        SEE,
    ),
    "a time zone that is a path": (
        changed("Europe/Copenhagen", "../../etc/passwd"),
        "pipeline.yaml: stations.st7.timezone",
        "is not an IANA time zone",
        SEE,
    ),
    "a latitude off the earth": (
        changed("55.6", "155.6"),
        "pipeline.yaml: stations.st7.latitude",
        "expected at most 90, got 155.6",
        SEE,
    ),
    "a latitude in words": (changed("55.6", "north"), "pipeline.yaml: stations.st7.latitude", "expected a number", SEE),
    "a latitude that is none": (
        changed("55.6", ".nan"),
        "pipeline.yaml: stations.st7.latitude",
        "a finite number",
        "Write",
    ),
    "a depth in words": (
        changed("depth: 2", "depth: two"),
        "pipeline.yaml: jobs.depth",
        "a whole number, got 'two'",
        SEE,
    ),
    "half a depth": (changed("depth: 2", "depth: 2.5"), "pipeline.yaml: jobs.depth", "a whole number, got 2.5", SEE),
    "no depth at all": (
        changed("depth: 2", "depth: 0"),
        "pipeline.yaml: jobs.depth",
        "expected at least 1, got 0",
        SEE,
    ),
    "a suffix without a dot": (
        EXAMPLE + "images: {suffixes: [jpg]}\n",
        "pipeline.yaml: images.suffixes",
        "'jpg' is not a suffix; write for example .jpg",
        SEE,
    ),
    "an unknown executor": (
        EXAMPLE + "executor: cloud\n",
        "pipeline.yaml: executor",
        "expected 'local', got 'cloud'",
        SEE,
    ),
    "a trigger that is a path": (
        changed("[folder]", "[../folder]"),
        "pipeline.yaml: triggers",
        "write the name of a module in triggers/",
        SEE,
    ),
    "a trigger with two names": (
        changed("[folder]", "[{a: {}, b: {}}]"),
        "pipeline.yaml: triggers",
        "is not a trigger",
        SEE,
    ),
    "a trigger outside a list": (changed("[folder]", "folder"), "pipeline.yaml: triggers", "expected a list", SEE),
    "a missing function": (
        changed("function: detect", "function: detct"),
        "pipeline.yaml: stages.detect",
        "there is no function 'detct' (no functions/detct/function.yaml)",
        "Found: classify, compile, detect, fetch, notify. Did you mean 'detect'?",
    ),
    "a missing alternative": (
        with_detect("alternatives: [other]"),
        "pipeline.yaml: stages.detect",
        "there is no function 'other'",
        "Found:",
    ),
    "a function that is a path": (
        changed("function: detect", "function: ../detect"),
        "pipeline.yaml: stages.detect.function",
        "is not a name",
        SEE,
    ),
    "a function of another kind": (
        changed("function: detect", "function: compile"),
        "pipeline.yaml: stages.detect",
        "compile accepts roll, but this stage hands it images",
        "`from` and `gather`",
    ),
    "a first function that builds on records": (
        changed("function: detect", "function: classify"),
        "pipeline.yaml: stages.detect",
        "classify accepts detections, but this stage hands it images",
        "name another function",
    ),
    "a stage that reads what nobody writes": (
        changed("from: detections/", "from: detection/"),
        "pipeline.yaml: stages.classify.from",
        "nothing writes detection/",
        "It can read: incoming/, detections/. Did you mean 'detections/'?",
    ),
    "a stage that reads two prefixes": (
        changed("from: detections/", "from: [detections/, incoming/]"),
        "pipeline.yaml: stages.classify.from",
        "it names 2 prefixes",
        "name one",
    ),
    "no prefix to read": (
        changed("from: incoming/", "from: []"),
        "pipeline.yaml: stages.detect.from",
        "at least one",
        SEE,
    ),
    "a prefix without its slash": (
        changed("from: incoming/", "from: incoming"),
        "pipeline.yaml: stages.detect.from",
        "'incoming' is not a prefix; write for example detections/",
        SEE,
    ),
    "a prefix that leads out": (
        changed("to: detections/", "to: ../detections/"),
        "pipeline.yaml: stages.detect.to",
        "is not a prefix",
        SEE,
    ),
    "a prefix of two lines": (
        changed("to: detections/", 'to: "a\\nb/"'),
        "pipeline.yaml: stages.detect.to",
        r"'a\nb/' is not a prefix",
        SEE,
    ),
    "no prefix to write": (
        changed("to: detections/", "to: "),
        "pipeline.yaml: stages.detect.to",
        "nothing is not a",
        SEE,
    ),
    "stages in a circle": (
        changed("from: incoming/, to: detections/", "from: classifications/, to: detections/"),
        "pipeline.yaml: stages",
        "classify, detect read each other in a circle",
        "Have one of them read incoming/.",
    ),
    "output under the input": (
        changed("to: detections/", "to: incoming/found/"),
        "pipeline.yaml: stages.detect.to",
        "incoming/found/ lies where the stage itself reads (incoming/)",
        "choose another prefix",
    ),
    "output under an ancestor's output": (
        changed("to: classifications/", "to: detections/names/"),
        "pipeline.yaml: stages.classify.to",
        "lies where the stage itself reads (detections/)",
        "choose another prefix",
    ),
    "output around another's output": (
        EXAMPLE + "  late: {function: detect, from: incoming/, to: detections/late/}\n",
        "pipeline.yaml: stages.late.to",
        "detections/late/ lies in or around detections/, which 'detect' writes",
        "do not contain each other",
    ),
    "output under a reserved prefix": (
        changed("to: detections/", "to: control/found/"),
        "pipeline.yaml: stages.detect.to",
        "control/found/ lies in or around control/, which is kept for control",
        "such as detect/",
    ),
    "output around a reserved prefix": (
        changed("to: detections/", "to: x/") + "prefixes: {models: x/models/}\n",
        "pipeline.yaml: stages.detect.to",
        "which is kept for models",
        "Choose another prefix",
    ),
    "two stages with one output": (
        EXAMPLE + "  late: {function: detect, from: incoming/, to: detections/}\n",
        "pipeline.yaml: stages.late.to",
        "detections/ is already written by 'detect'",
        "`alternatives`",
    ),
    "two reserved prefixes in one": (
        EXAMPLE + "prefixes: {status: results/status/}\n",
        "pipeline.yaml: prefixes.status",
        "results/status/ lies in results/, kept for results",
        "Choose another prefix",
    ),
    "two fetch stages": (
        EXAMPLE + "  again: {function: fetch, from: jobs/, to: incoming/}\n",
        "pipeline.yaml: stages.again.to",
        "already written by 'fetch'",
        "alternatives",
    ),
    "two compile stages": (
        EXAMPLE + "  again: {function: compile, from: detections/, to: results/, gather: job}\n",
        "pipeline.yaml: stages.again.to",
        "already written by 'compile'",
        "alternatives",
    ),
    "two notify stages": (
        EXAMPLE + "  again: {function: notify, from: results/, to: receipts/}\n",
        "pipeline.yaml: stages.again.to",
        "already written by 'notify'",
        "alternatives",
    ),
    "a fetch that writes elsewhere": (
        changed("to: incoming/", "to: elsewhere/"),
        "pipeline.yaml: stages.fetch.to",
        "a stage that reads jobs/ writes incoming/, not elsewhere/",
        "Write `to: incoming/`.",
    ),
    "a compile that does not gather": (
        changed(", gather: job", ""),
        "pipeline.yaml: stages.compile.to",
        "which is kept for results",
        "Add `gather: job`",
    ),
    "a compile of images": (
        changed("from: classifications/", "from: incoming/"),
        "pipeline.yaml: stages.compile.from",
        "it compiles records, not images",
        "It can read: detections/, classifications/.",
    ),
    "an unknown gather": (
        changed("gather: job", "gather: night"),
        "pipeline.yaml: stages.compile.gather",
        "'job'",
        SEE,
    ),
    "nothing that reads images": (
        "name: t\nstages: {fetch: {function: fetch, from: jobs/, to: incoming/}}\n",
        "pipeline.yaml: stages",
        "none reads the images in incoming/",
        "from: incoming/, to: detections/",
    ),
    "a choice among no detections": (
        with_detect("when: {label: insect}"),
        "pipeline.yaml: stages.detect.when",
        "this stage reads none",
        "Remove it",
    ),
    "a confidence above one": (
        changed("0.2", "20"),
        "pipeline.yaml: stages.classify.when.confidence",
        "expected at most 1, got 20",
        SEE,
    ),
    "an unknown parameter": (
        with_detect("parameters: {treshold: 0.2}"),
        "pipeline.yaml: stages.detect.parameters",
        "detect has no parameter 'treshold'",
        "It has: threshold. Did you mean 'threshold'?",
    ),
    "a parameter outside its schema": (
        with_detect("parameters: {threshold: 2}"),
        "pipeline.yaml: stages.detect.parameters.threshold",
        "2 is greater than the maximum of 1",
        "functions/detect/function.yaml",
    ),
    "a parameter of many lines": (
        with_detect('parameters: {threshold: "' + "x\\n\\n" * 500 + '"}'),
        "pipeline.yaml: stages.detect.parameters.threshold",
        "x",
        "functions/detect/function.yaml",
    ),
    "a list of parameters": (with_detect("parameters: [1]"), "pipeline.yaml: stages.detect.parameters", "got [1]", SEE),
    "an unknown delivery field": (
        with_detect("delivery: {retries: 5}"),
        "pipeline.yaml: stages.detect.delivery.retries",
        "unknown key",
        "Known here: retry, backoffPolicy, backoffDelay, timeout. Did you mean 'retry'?",
    ),
    "no time at all": (
        with_detect("delivery: {timeout: PT0S}"),
        "pipeline.yaml: stages.detect.delivery.timeout",
        "PT1S",
        SEE,
    ),
    "an empty file": ("", "pipeline.yaml is empty", "", "trapline init DIR"),
    "nothing but a comment": ("# later\n", "pipeline.yaml is empty", "", "trapline init DIR"),
    "tabs": (
        changed("  detect:", "\tdetect:"),
        "pipeline.yaml is not YAML",
        r"line 8: found character '\t'",
        "Indent with spaces, never with tabs.",
    ),
    "an unclosed brace": (
        changed("gather: job}", "gather: job"),
        "pipeline.yaml is not YAML",
        "line 11",
        "Correct that line",
    ),
    "a list": ("- a\n- b\n", "pipeline.yaml holds a list", "expected `key: value` settings", "trapline init DIR"),
    "a line of text": ("hello\n", "pipeline.yaml holds a line of text", "expected", "trapline init DIR"),
    "a number": ("5\n", "pipeline.yaml holds 5", "expected", "trapline init DIR"),
    "bytes of another encoding": (
        "name: caf\xe9\n".encode("latin-1"),
        "pipeline.yaml is not UTF-8",
        "line 1",
        "Save it as UTF-8.",
    ),
    "a zero byte": (EXAMPLE.encode() + b"\0", "pipeline.yaml is not YAML", "special characters", "Correct"),
    "a tag of Python's": (
        "name: !!python/name:os.system ''\n",
        "pipeline.yaml is not YAML",
        "line 1",
        "Correct that line.",
    ),
    "nesting without end": ("a: " + "[" * 5000, "pipeline.yaml is not YAML", "nested too deeply", "Correct"),
    "bytes as a value": (
        with_detect("parameters: {threshold: !!binary aGk=}"),
        "pipeline.yaml: stages.detect.parameters.threshold",
        "b'hi'",
        "in quotes",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_pipeline_is_told_in_one_line_with_place_expectation_and_remedy(project: Project, what: str) -> None:
    text, place, said, remedy = WRONG[what]
    project.write(text)
    check(project.error(), place, said, remedy)


WRONG_FUNCTION: dict[str, tuple[Callable[[str], str], str, str, str]] = {
    "not YAML": (lambda text: "name: [", "", "is not YAML: line 1", "Correct that line."),
    "empty": (lambda text: "", "", "is empty", "Write"),
    "a list": (lambda text: "- a", "", "holds a list; expected `key: value` settings", "Write"),
    "another name than its folder": (
        lambda text: text.replace("name: detect", "name: detector"),
        ": name",
        "it says 'detector', but the folder is 'detect'",
        "named like its folder",
    ),
    "no handler": (
        lambda text: "name: detect\n",
        ": handler",
        "is missing",
        "Add it; see 'handler' in docs/reference/function.md.",
    ),
    "a path for a handler": (
        lambda text: "name: detect\nhandler: detect/handler.py:Detect\n",
        ": handler",
        "write module:Class",
        SEE_FUNCTION,
    ),
    "an unknown key": (lambda text: text + "accept: image\n", ": accept", "unknown key", "Did you mean 'accepts'?"),
    "a version that is a number": (
        lambda text: text.replace("version: 1.0.0", "version: 1.0"),
        ": version",
        "expected text, got 1.0; put it in quotes",
        SEE_FUNCTION,
    ),
    "memory without a unit": (
        lambda text: text + "resources: {memory: 512}\n",
        ": resources.memory",
        "512 is 512 bytes; write for example 512Mi",
        SEE_FUNCTION,
    ),
    "memory in words": (
        lambda text: text + "resources: {memory: lots}\n",
        ": resources.memory",
        "'lots'",
        SEE_FUNCTION,
    ),
    "a schema that is none": (
        lambda text: text.replace("type: number", "type: numbre"),
        ": parameters.threshold",
        "'numbre'",
        "Write a JSON Schema",
    ),
    "a default outside its schema": (
        lambda text: text.replace("default: 0.5", "default: 7"),
        ": parameters.threshold.default",
        "7 is greater than the maximum of 1",
        "Change the default",
    ),
}


@pytest.mark.parametrize("what", WRONG_FUNCTION)
def test_a_wrong_function_is_told_in_one_line_with_its_file(project: Project, what: str) -> None:
    change, place, said, remedy = WRONG_FUNCTION[what]
    project.function("detect", change)
    check(project.error(), "functions/detect/function.yaml" + place, said, remedy)


def test_a_parameter_without_default_must_be_given(project: Project) -> None:
    project.function("detect", lambda text: text.replace("parameters: {", "parameters: {size: {type: integer}, "))
    check(project.error(), "pipeline.yaml: stages.detect.parameters", "needs the parameter 'size'", "Give it a value")
    project.write(with_detect("parameters: {size: 3}"))
    assert load_pipeline(project.folder).stages["detect"].spec.parameters == {"size": 3}


def test_a_schema_that_refers_elsewhere_is_refused_and_nothing_is_looked_up(project: Project) -> None:
    project.function("detect", lambda text: text.replace("type: number", "$ref: 'http://127.0.0.1:9/schema'"))
    check(project.error(), "functions/detect/function.yaml", "which is not in it", "Change the default")


def test_a_folder_without_pipeline_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_pipeline(tmp_path)
    check(caught.value, f"There is no pipeline.yaml in {tmp_path}", "", "trapline init DIR")


def test_a_folder_in_the_place_of_the_pipeline_is_told(project: Project) -> None:
    (project.folder / "pipeline.yaml").unlink()
    (project.folder / "pipeline.yaml").mkdir()
    check(project.error(), "pipeline.yaml cannot be read", "Is a directory", "a file")


def test_without_any_functions_that_is_said(project: Project) -> None:
    shutil.rmtree(project.folder / "functions")
    check(project.error(), "pipeline.yaml: stages.fetch", "there is no function 'fetch'", "Found: none.")


def test_what_is_right_loads_in_the_order_in_which_it_runs(project: Project) -> None:
    project.write("\ufeff" + EXAMPLE.replace("[folder]", "[folder: ]"))
    pipeline = load_pipeline(project.folder)
    assert pipeline.image_stages == ("detect", "classify")
    assert [stage.kind for stage in pipeline.stages.values()] == ["fetch", "image", "image", "gather", "notify"]
    assert pipeline.spec.triggers == ({"folder": {}},)
    assert pipeline.settle("st7/n1") == 1800
    assert pipeline.station("st7/n1") == {"latitude": 55.6, "timezone": "Europe/Copenhagen"}
    assert pipeline.station("st8/n1") == {}


def test_stages_may_be_written_in_any_order(project: Project) -> None:
    spec = yaml.safe_load(EXAMPLE)
    spec["stages"] = dict(reversed(spec["stages"].items()))
    project.write(yaml.safe_dump(spec, sort_keys=False))
    assert load_pipeline(project.folder).image_stages == ("detect", "classify")


def test_a_station_keeps_what_else_is_known_of_it_even_a_date(project: Project) -> None:
    project.write(changed("latitude: 55.6", "latitude: 55.6, installed: 2026-05-01, lure: [sugar]"))
    known = load_pipeline(project.folder).station("st7/n1")
    assert (known["installed"], known["lure"]) == ("2026-05-01", ["sugar"])


def test_names_may_have_underscores_and_hyphens(project: Project) -> None:
    (project.folder / "functions" / "detect").rename(project.folder / "functions" / "find_moths")
    project.function("find_moths", lambda text: text.replace("name: detect", "name: find_moths"))
    project.write(changed("  detect: {function: detect", "  find-moths: {function: find_moths"))
    assert "find-moths" in load_pipeline(project.folder).stages


def test_a_stages_delivery_replaces_single_fields_of_the_functions(project: Project) -> None:
    project.write(with_detect("delivery: {retry: 9}"))
    stage = load_pipeline(project.folder).stages["detect"]
    assert stage.delivery("detect").retry == 9
    assert stage.delivery("detect").timeout == stage.function.delivery.timeout


def test_parameters_come_with_their_defaults(project: Project) -> None:
    function = load_pipeline(project.folder).stages["detect"].function
    default = function.parameters["threshold"]["default"]
    assert resolve_parameters(function, {}, "here") == {"threshold": default}
    assert resolve_parameters(function, {"threshold": 0.5}, "here") == {"threshold": 0.5}


# -- a pipeline that leaves stages out still runs


@pytest.fixture(name="handlers")
def _handlers() -> Iterator[Any]:
    sys.path.insert(0, str(BASIC))
    case = importlib.import_module("case_basic")
    case.forget()
    yield case
    sys.path.remove(str(BASIC))


OPTIONAL = {
    "everything but detect": ("fetch", "classify", "compile", "notify"),
    "fetch": ("fetch",),
    "compile": ("compile",),
    "compile and notify": ("compile", "notify"),
    "notify": ("notify",),
}


@pytest.mark.parametrize("what", OPTIONAL)
def test_a_pipeline_without_some_stages_finishes_its_jobs_and_rests_after_a_restart(
    project: Project, handlers: Any, what: str
) -> None:
    left_out = OPTIONAL[what]
    spec = yaml.safe_load((BASIC / "pipeline.yaml").read_text())
    spec["stages"] = {name: stage for name, stage in spec["stages"].items() if name not in left_out}
    project.write(yaml.safe_dump(spec, sort_keys=False))
    store = MemoryStore()
    first, again = Simulated(project.folder, store), Simulated(project.folder, store)
    first.play(_night)
    status = json.loads(store.get("status/st7/n1.json").data)
    assert (status["state"], status["closed"]) == ("PARTIAL", True)
    assert (status["images"]["done"], status["images"]["failed"]) == (1, 1)
    assert bool(list(store.list("results/"))) == ("compile" not in left_out)
    assert bool(list(store.list("receipts/"))) == (not {"compile", "notify"} & {*left_out})
    again.play(_rest)
    assert again.executor is not None
    assert again.executor.ran == []


async def _night(world: Simulated) -> None:
    world.put("incoming/st7/n1/a.jpg", b"moth")
    world.put("incoming/st7/n1/b.jpg", b"bad")
    world.put("incoming/st7/n1/_DONE")
    await asyncio.sleep(60)


async def _rest(world: Simulated) -> None:
    await asyncio.sleep(3600)


def test_a_manifest_that_needs_a_fetch_is_refused_by_a_pipeline_without_one(project: Project, handlers: Any) -> None:
    async def scenario(world: Simulated) -> None:
        manifest = {"sourceImages": [{"id": "a", "url": "https://example.org/a.jpg"}]}
        world.put("jobs/ecos/j1.json", json.dumps(manifest).encode())
        await asyncio.sleep(30)

    spec = yaml.safe_load((BASIC / "pipeline.yaml").read_text())
    del spec["stages"]["fetch"]
    project.write(yaml.safe_dump(spec, sort_keys=False))
    world = Simulated(project.folder)
    world.play(scenario)
    status = json.loads(world.store.get("status/ecos/j1.json").data)
    assert status["state"] == "FAILED"
    assert "Add a stage with `function: fetch, from: jobs/, to: incoming/`." in status["message"]
