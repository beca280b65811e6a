"""`trapline models …`, as typed. What the commands do is in modules of their own, imported when they are called."""

# ruff: noqa: PLC0415 - `trapline --help` does not wait for what other commands need

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trapline.cli.options import HERE, Json, Where, located

models = typer.Typer(
    name="models",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Bring models, see which there are, and choose the version in force.\n\n"
    "A model is an ONNX file and its card, kept in the bucket under models/NAME/VERSION/. `trapline models add FILE` "
    "brings one; `model: NAME` in a stage of pipeline.yaml uses it.",
)

ModelName = Annotated[str, typer.Argument(metavar="NAME", help="The model, as `trapline models list` names it.")]


@models.command()
@located
def add(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The .onnx file, or a folder with model.yaml and the file it names.")
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="The model's name: lower-case letters, digits, hyphens.")
    ] = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Three numbers.", show_default="1.0.0, then the next minor")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="detector|classifier|embedder", help="What it does.")
    ] = None,
    head: Annotated[
        str | None,
        typer.Option("--head", help="How its outputs read: yolov8, softmax, …; see docs/reference/model.md."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="A,B,C", help="Names of what it tells apart, in its order.")
    ] = None,
    labels_file: Annotated[
        Path | None,
        typer.Option("--labels-file", help="The same from a file: a name a line, or .json, .yaml, .csv with taxa."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", metavar="SPDX", help="The weights' licence, such as CC-BY-4.0.")
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", metavar="WxH", help="Pixels that it is fed, such as 640x640.")
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="imagenet|inception|clip|plain|yolo|megadetector",
            help="How the colours are fed, as the model was trained.",
        ),
    ] = None,
    mean: Annotated[
        str | None, typer.Option("--mean", metavar="R,G,B", help="Subtracted from colours of 0 to 1.")
    ] = None,
    std: Annotated[str | None, typer.Option("--std", metavar="R,G,B", help="Divided by after that.")] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0, max=1, help="Confidence below which a box is dropped.")
    ] = None,
    tiles: Annotated[
        str | None,
        typer.Option(
            "--tiles",
            metavar="SIZE[:OVERLAP[:SCALES]]",
            help="Look at large images piece by piece: 640:0.2:1.0,0.5 is pieces of 640 pixels that share a fifth, "
            "at full and at half size.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Any other field of the card: --set input.margin=0.1"),
    ] = None,
    card: Annotated[
        Path | None, typer.Option("--card", help="A model.yaml to take fields from; options go before it.")
    ] = None,
    sample: Annotated[
        Path | None,
        typer.Option("--sample", help="An image to try it on.", show_default="one of the project's samples"),
    ] = None,
    promote_: Annotated[
        bool, typer.Option("--promote", help="Put it into force at once. The first version always is.")
    ] = False,
    seconds: Annotated[
        int, typer.Option("--seconds", min=1, help="How long loading and trying it may take; then it is stopped.")
    ] = 120,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it is added.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the card and try it; add nothing.")] = False,
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Bring a model: look into an ONNX file, write its card, try it, put both into the bucket.

    Reads from the file what it takes and gives, and guesses the rest; each field of the card is shown with where it
    is from. What cannot be known (labels, licence, how a classifier's colours were scaled) is asked for on a terminal,
    and has an option each. Then the model runs on a sample image. All that the file asks for runs in a process of its
    own, which is stopped after --seconds. Nothing that is there is ever overwritten. A running
    engine need not be stopped, and none need run.

    Example: trapline models add yolo.onnx --name moths --labels moth,beetle --licence CC-BY-4.0
    """
    from trapline.cli.models_apart import Apart

    with Apart(seconds) as apart:  # it starts while the rest is imported
        from trapline.cli.models_add import Wanted
        from trapline.cli.models_add import add as run_add

        wanted = Wanted(
            file=file, name=name, version=version, kind=kind, head=head, labels=labels, labels_file=labels_file,
            licence=licence, size=size, preset=preset, mean=mean, std=std, threshold=threshold, tiles=tiles,
            set=tuple(set_ or ()), card=card, sample=sample, promote=promote_, yes=yes, dry_run=dry_run, as_json=json_,
        )  # fmt: skip
        run_add(where.place(), wanted, apart)


@models.command("list")
@located
def list_(where: Where = HERE, json_: Json = False) -> None:
    """List the models in the bucket, and which stages use them.

    Example: trapline models list
    """
    from trapline.cli.models_shown import list_models

    list_models(where.place(), as_json=json_)


@models.command()
@located
def show(
    name: ModelName,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="The one in force, unless given.")] = None,
    yaml_: Annotated[
        bool, typer.Option("--yaml", help="Print the card's file alone, as `add --card` takes it.")
    ] = False,
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Show a model's card, its versions, and which stages use it.

    Example: trapline models show moth-detector
    """
    from trapline.cli.models_shown import show_model

    show_model(where.place(), name, version, as_json=json_, as_yaml=yaml_)


@models.command()
@located
def promote(
    name: ModelName,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version that is to be in force.")],
    where: Where = HERE,
    json_: Json = False,
) -> None:
    """Put a version into force: jobs that begin from now on use it.

    One write, of models/NAME/current. Jobs that began before keep the version they began with.

    Example: trapline models promote moth-detector 1.1.0
    """
    from trapline.cli.models_force import promote as run_promote

    run_promote(where.place(), name, version, as_json=json_)


@models.command()
@located
def rollback(name: ModelName, where: Where = HERE, json_: Json = False) -> None:
    """Put the version into force that was so before.

    Twice goes back twice. `trapline models promote` goes forward again.

    Example: trapline models rollback moth-detector
    """
    from trapline.cli.models_force import rollback as run_rollback

    run_rollback(where.place(), name, as_json=json_)


@models.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="The .pt or .pth file.")],
    out: Annotated[Path, typer.Option("--out", help="The ONNX file to write.")] = Path("model.onnx"),
    size: Annotated[
        str | None, typer.Option("--size", metavar="WxH", help="Pixels of its pictures, such as 640x640.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the code that is in the checkpoint, or named by it.")
    ] = False,
    json_: Json = False,
) -> None:
    """Turn a PyTorch checkpoint into an ONNX file, where its network's code is at hand.

    For models of the ultralytics package, where that is installed; for networks that were saved whole, where their
    class can be imported (the current folder counts); and for TorchScript. Says what to do about others. Needs the
    packages torch and onnx (the extra `train`). Loading a checkpoint can run any code: only with --trust.

    Example: trapline models export best.pt --out moths.onnx --trust
    """
    from trapline.cli.models_export import export_model

    export_model(checkpoint, out, size, trust=trust, as_json=json_)
