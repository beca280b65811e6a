"""Ways in which `pipeline.yaml` and `function.yaml` are wrong, and what is to be said of each."""

from __future__ import annotations

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
    "a key that YAML takes for a number": (
        changed("st7:", "7:"),
        "pipeline.yaml: stations.7",
        "got 7",
        "quotes",
    ),
    "people in place of settings": (
        EXAMPLE + "notify: mailto://me:hunter2@example.org\n",
        "pipeline.yaml: notify",
        "such as {to: [mailto://…]}",
        SEE,
    ),
    "people by no address": (
        EXAMPLE + "notify: {to: [hunter2]}\n",
        "pipeline.yaml: notify.to",
        "entry 1 is no address; write schema://… of Apprise",
        SEE,
    ),
    "people by name": (
        EXAMPLE + "notify: {to: {me: hunter2}}\n",
        "pipeline.yaml: notify.to",
        "expected a list of addresses",
        SEE,
    ),
    "an event that nobody tells of": (
        EXAMPLE + "notify: {to: [json://h], on: [failed]}\n",
        "pipeline.yaml: notify.on",
        "expected 'opened', 'progress', 'completed' or 'updated', got 'failed'",
        SEE,
    ),
    "links that last too long": (
        EXAMPLE + "notify: {links: P8D}\n",
        "pipeline.yaml: notify.links",
        "good for PT1M to P7D",
        SEE,
    ),
    "people without a stage that tells": (
        changed("  notify: {function: notify, from: results/, to: receipts/}\n", "notify: {to: [json://h]}\n"),
        "pipeline.yaml: notify.to",
        "no stage tells anybody",
        "Add `notify: {function: notify, from: results/, to: receipts/}`.",
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
    "a join of images": (
        changed("from: detections/", "from: [detections/, incoming/]"),
        "pipeline.yaml: stages.classify.from",
        "it joins records, not images",
        "detections/",
    ),
    "a join of one prefix with itself": (
        changed("from: detections/", "from: [detections/, detections/]"),
        "pipeline.yaml: stages.classify.from",
        "it names detections/ twice",
        "once",
    ),
    "a compile of two prefixes": (
        changed("from: classifications/", "from: [classifications/, detections/]"),
        "pipeline.yaml: stages.compile.from",
        "it names 2 prefixes",
        "join them first",
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
    "a choice that lets nothing through": (
        changed("confidence: 0.2", "confidence: 0.6, below: 0.5"),
        "pipeline.yaml: stages.classify.when",
        "nothing lies from 0.6 up and below 0.5",
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
        "Known here: retry, backoffPolicy, backoffDelay, backoffMax, timeout. Did you mean 'retry'?",
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
