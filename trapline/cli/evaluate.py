"""`trapline evaluate`: how good a model is on a data set, as a document, a picture and a table."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from trapline.cli import words
from trapline.cli.chosen import chosen_model
from trapline.cli.place import Place
from trapline.errors import ConfigError, SurroundingsError, TraplineError
from trapline.evaluation.cards import write_quality
from trapline.evaluation.dataset import Dataset, Naming, naming, parse_mapping
from trapline.evaluation.measuring import Answer, measure
from trapline.evaluation.reading import read_dataset
from trapline.evaluation.report import Run, Settings, quality, report
from trapline.models import Model

DOCUMENT = "evaluation.json"
_FILES = ("evaluation.png", "evaluation.svg", "mistakes.jpg", DOCUMENT)  # in the order in which they come into place
_ROWS = 30  # labels in the table
_NAMED = 5  # problems told by name
_MANY = 500  # pictures from which taking the figures is no matter of a moment
_LINE_EVERY = 10.0  # seconds between lines of progress where there is no terminal


@dataclass(frozen=True)
class Wishes:
    """What the options say."""

    model: str
    dataset: Path
    images: Path | None
    card: Path | None
    mapping: Sequence[str]
    out: Path | None
    workers: int | None
    limit: int | None
    write_card: bool
    picture: bool
    command: str
    threshold: float | None
    most: int
    seed: int

    @property
    def settings(self) -> Settings:
        return Settings(threshold=self.threshold, most=self.most, seed=self.seed)


def told_command() -> str:
    """The command as it was typed."""
    return shlex.join(["trapline", *sys.argv[1:]])


def evaluate(wishes: Wishes, place: Callable[[], Place], *, as_json: bool) -> None:
    """Measure, write, show. `place` is asked for only where the model is in a bucket."""
    progress = words.console(stderr=True)
    with chosen_model(wishes.model, wishes.card, place) as chosen:
        if wishes.write_card:
            _check_writable(chosen.own)
        model = Model.load(chosen.folder)
        data, names = _matched(model, wishes)
        model.session()
        out = _room(wishes.out or Path(f"evaluation-{model.card.name}-{model.card.version}"))
        begun = time.monotonic()
        answers = _answers(progress, chosen.folder, data, names, wishes)
        if len(answers) >= _MANY:
            words.say(progress, "Taking the figures …", style="dim")
        run = Run(wishes.command, str(wishes.dataset), round(time.monotonic() - begun, 3))
        document = report(model.card, data, names, answers, wishes.settings, run)
        _refuse_nothing(document)
        files = _write(out, document, data, answers, wishes.picture, progress)
        if wishes.write_card and chosen.own is not None:
            write_quality(chosen.own, quality(document))
    if as_json:
        words.emit(document)
        return
    _show(words.console(), document)
    words.say(words.console(), "Written: " + ", ".join(str(file) for file in files))
    if wishes.write_card:
        words.say(words.console(), f"The figures stand on {chosen.own}, under quality.")


def _check_writable(card: Path | None) -> None:
    """Refuse before the work what --write-card cannot do after it. `card`: the model's own; none in a bucket."""
    if card is None:
        raise ConfigError(
            "--write-card: a version in the bucket never changes, its card included.",
            remedy="Evaluate the folder that it was made in.",
        )
    if not os.access(card.parent, os.W_OK):
        raise SurroundingsError(f"{card} cannot be written to.", remedy="Leave out --write-card, or get rights.")


def _matched(model: Model, wishes: Wishes) -> tuple[Dataset, Naming]:
    if model.card.kind not in ("detector", "classifier"):
        raise ConfigError(
            f"Model {model.card.name} is an {model.card.kind}: it names nothing that could be right or wrong.",
            remedy="Evaluate a detector or a classifier.",
        )
    if wishes.threshold is not None and model.card.kind != "detector":
        raise ConfigError(f"--threshold: {model.card.name} is a {model.card.kind}.", remedy="Leave it out.")
    data = read_dataset(wishes.dataset, wishes.images)
    if wishes.limit is not None:
        data = data.first(wishes.limit)
    if data.kind == "folders" and model.card.kind == "detector":
        raise ConfigError(
            f"{wishes.dataset}: has a folder per class and no boxes; {model.card.name} is a detector.",
            remedy="Give a COCO file or a YOLO folder.",
        )
    taxa = getattr(model.card, "taxa", {})
    synonyms = {label: tuple(getattr(taxon, "synonyms", ())) for label, taxon in taxa.items()}
    return data, naming(model.card.labels, data, parse_mapping(wishes.mapping), synonyms)


def _room(out: Path) -> Path:
    """The folder to write to, looked at before the work is done."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file.", remedy="Name a folder.")
    there = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        raise SurroundingsError(f"{there} cannot be written to.", remedy="Name another folder with --out.")
    return out


def _answers(out: Console, folder: Path, data: Dataset, names: Naming, wishes: Wishes) -> list[Answer]:
    workers = wishes.workers or len(os.sched_getaffinity(0))
    answers = []
    with _telling(out, len(data.entries)) as tell:
        looking = measure(folder, data, names, floor=wishes.settings.floor, workers=workers)
        with closing(looking):  # Ctrl-C ends the processes here
            for answer in looking:
                answers.append(answer)
                tell(len(answers))
    return answers


@contextmanager
def _telling(out: Console, total: int) -> Iterator[Callable[[int], None]]:
    """How far it is: a bar on a terminal, a line now and then elsewhere."""
    if out.is_terminal:
        columns = (
            TextColumn("images"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, console=out, transient=True) as bar:
            row = bar.add_task("", total=total)
            yield lambda done: bar.update(row, completed=done)
        return
    begun = said = time.monotonic()

    def line(done: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= _LINE_EVERY and done < total:
            left = (now - begun) / done * (total - done)
            words.say(out, f"{done:,} of {words.plural(total, 'image')}, {words.duration(left)} left", style="dim")
            said = now

    yield line


def _refuse_nothing(document: Mapping[str, Any]) -> None:
    if document["data"]["objects"]:
        return
    first = next(iter(document["problems"]["items"]), None)
    why = f" The first problem: {words.safe(first['item'])}: {first['message']}" if first else ""
    raise TraplineError(
        f"Nothing could be measured: {words.plural(document['data']['images'], 'image')} read, with nothing on them "
        f"that the model knows.{why}",
        remedy="Name the folder of the pictures with --images, and what is what with --map."
        if not first or first["code"] == "file_missing"
        else "",
    )


def _write(
    out: Path, document: dict[str, Any], data: Dataset, answers: Sequence[Answer], picture: bool, progress: Console
) -> list[Path]:
    """Make all files aside, then put them into place, the document last. What an earlier run left goes."""
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".evaluation-", dir=out.parent))
    try:
        if picture and importlib.util.find_spec("matplotlib") is None:
            words.say(progress, "No picture is drawn without matplotlib: pip install 'trapline[plots]'.")
        elif picture:
            from trapline.evaluation.mistakes import draw_mistakes  # noqa: PLC0415 - matplotlib is an extra
            from trapline.evaluation.picture import draw  # noqa: PLC0415

            draw(document, [aside / "evaluation.png", aside / "evaluation.svg"])
            draw_mistakes(document, data, answers, aside / "mistakes.jpg")
        made = [name for name in _FILES if (aside / name).exists()]
        document["files"] = list(dict.fromkeys([*made, DOCUMENT]))
        text = json.dumps(document, ensure_ascii=False, indent=1)
        (aside / DOCUMENT).write_text(text + "\n", "utf-8", errors="backslashreplace")
        out.mkdir(parents=True, exist_ok=True)
        for name in _FILES:
            if (aside / name).exists():
                os.replace(aside / name, out / name)
            else:
                (out / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return [out / name for name in _FILES if (out / name).exists()]


# -- on the terminal


def _show(out: Console, document: Mapping[str, Any]) -> None:
    model, data = document["model"], document["data"]
    words.say(
        out, f"{model['name']} {model['version']}, a {model['kind']}, on {words.safe(data['path'])}", style="bold"
    )
    words.say(out, f"{words.plural(data['images'], 'image')}, {words.plural(data['objects'], 'thing')} on them")
    words.say(out)
    out.print(_main(document))
    words.say(out)
    out.print(_labels(document))
    _remarks(out, document)
    words.say(out)


_WORDED = {
    "map": "mAP, overlap 0.50 to 0.95",
    "map50": "mAP, overlap 0.50",
    "map75": "mAP, overlap 0.75",
    "average_recall": "average recall",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "top1": "top 1",
    "top5": "top 5",
    "macro_f1": "macro F1",
}


def _main(document: Mapping[str, Any]) -> Table:
    told = document["figures"]
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("95 of 100", justify="right")
    at = told.get("at_threshold")
    values = {**told, **(at or {})}
    for name, worded in _WORDED.items():
        if name not in values:
            continue
        beside = f" at {at['threshold']:.2f}" if at and name in at else ""
        interval = told["intervals"].get(name)
        table.add_row(
            worded + beside, _number(values[name]), f"{interval[0]:.3f} – {interval[1]:.3f}" if interval else ""
        )
    if best := told["best"]:
        table.add_row(f"best F1, at {best['threshold']:.2f}", _number(best["f1"]))
    table.add_row("calibration error", _number(told["calibration"]["ece"]))
    table.add_row("Brier score", _number(told["calibration"]["brier"]))
    return table


def _labels(document: Mapping[str, Any]) -> Table:
    detector = document["model"]["kind"] == "detector"
    table = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    table.add_column("label", overflow="fold")
    for name in ("things", "told", "AP50" if detector else "AP", "precision", "recall", "F1"):
        table.add_column(name, justify="right")
    rows = [row for row in document["figures"]["labels"] if row["objects"] or row["told"]]
    rows.sort(key=lambda row: -row["objects"])
    for row in rows[:_ROWS]:
        average = row["map50"] if detector else row["average_precision"]
        figures = (average, row["precision"], row["recall"], row["f1"])
        table.add_row(words.safe(row["label"]), f"{row['objects']:,}", f"{row['told']:,}", *map(_number, figures))
    if len(rows) > _ROWS:
        table.add_row(f"… {len(rows) - _ROWS} more")
    return table


def _remarks(out: Console, document: Mapping[str, Any]) -> None:
    data, problems = document["data"], document["problems"]
    unknown = {name: count for name, count in data["unknown_categories"].items() if count}
    if unknown:
        named = _some([f"{words.safe(name)} ({count:,})" for name, count in unknown.items()])
        words.say(
            out, f"Left out, since the model has no such label: {named}. --map LABEL=CATEGORY says what they are."
        )
    if absent := [label for label, count in data["labels"].items() if not count]:
        words.say(out, f"Nothing in the data is: {_some([words.safe(label) for label in absent])}.")
    if total := sum(problems["counts"].values()):
        counts = ", ".join(f"{count:,} {code}" for code, count in problems["counts"].items())
        words.say(out, f"{words.plural(total, 'problem')}, each left out: {counts}.", style="yellow")
        for row in problems["items"][:_NAMED]:
            words.say(out, f"  {words.safe(row['item'])}: {words.safe(row['message'])}")
        if total > _NAMED:
            words.say(out, f"  … {total - _NAMED} more in {DOCUMENT}")


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f", … {len(names) - most} more" if len(names) > most else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
