"""`trapline evaluate`, as typed. What it does is in modules that are imported when it is called."""

# ruff: noqa: PLC0415 - `trapline --help` does not wait for what other commands need

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trapline.cli.interrupt import saying
from trapline.cli.options import HERE, Json, Where, located


@located
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A folder with model.yaml, an .onnx file, or NAME or NAME@VERSION in the bucket."
        ),
    ],
    dataset: Annotated[
        Path,
        typer.Argument(metavar="DATASET", help="A COCO file (.json), a YOLO folder, or a folder with one per class."),
    ],
    images: Annotated[
        Path | None, typer.Option("--images", help="The folder of the pictures.", show_default="beside the data set")
    ] = None,
    card: Annotated[
        Path | None, typer.Option("--card", help="The card of an .onnx file.", show_default="model.yaml beside it")
    ] = None,
    mapping: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="LABEL=CATEGORY,…",
            help="What the data set calls a label of the model; `*` is every other category. May be repeated.",
            show_default="the same name",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder to write to.", show_default="evaluation-NAME-VERSION")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", min=0, max=1, help="Confidence to use a detector at.", show_default="the card's"),
    ] = None,
    most: Annotated[
        int,
        typer.Option("--most", min=1, help="Detections of one label that count per picture; COCO's tools take 100."),
    ] = 1000,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Take the first pictures alone.", show_default="all")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Pictures at a time.", show_default="one per core")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draws behind the intervals.")] = 0,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Put the main figures on the model's card, under quality.")
    ] = False,
    picture: Annotated[bool, typer.Option(help="Draw the figures; needs the extra `plots`.")] = True,
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Measure how good a model is on pictures of which the truth is known.

    A detector is measured on boxes: average precision as COCO defines it, precision and recall. A classifier on
    folders of pictures, or on boxes, which are cut out: how often its first name, or one of five, is right. For both:
    what is confused with what, whether confidences can be believed, the best threshold, each label by itself. Figures
    have intervals: what other pictures of the kind might have given. A picture that cannot be read is named and costs
    itself alone.

    Writes evaluation.json, a page of curves (evaluation.png, .svg) and a sheet of the worst mistakes (mistakes.jpg).
    Ctrl-C leaves nothing half-written.

    Example: trapline evaluate functions/detect/model nights.json --images nights --map 'insect=*'
    """
    from trapline.cli.evaluate import Wishes, told_command
    from trapline.cli.evaluate import evaluate as run_evaluate

    wishes = Wishes(
        model=model, dataset=dataset, images=images, card=card, mapping=mapping or (), out=out, workers=workers,
        limit=limit, write_card=write_card, picture=picture, command=told_command(),
        threshold=threshold, most=most, seed=seed,
    )  # fmt: skip
    with saying("Stopped; nothing was written."):
        run_evaluate(wishes, where.place, as_json=json_)
