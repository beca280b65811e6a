"""The reference says what there is, and no file names a machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
import yaml
from pydantic import BaseModel

from local_dev.failure_codes import page
from trapline.cli.app import app
from trapline.errors import CODES
from trapline.keys import IMAGE_SUFFIXES
from trapline.pipeline.load import load_pipeline
from trapline.pipeline.spec import Delivery, FunctionSpec, Images, PipelineSpec, Resources

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


def settings(kind: type[BaseModel]) -> Iterator[str]:
    """Every key that a file may hold, those of inner settings included."""
    for name, field in kind.model_fields.items():
        yield field.alias or name
        for inner in models(field.annotation):
            yield from settings(inner)


def models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models(part)]


def mentioned(key: str, text: str) -> bool:
    """Whether a key stands in a code span or begins a heading."""
    word = re.escape(key)
    return re.search(rf"`[^`\n]*\b{word}\b[^`\n]*`|^## .*\b{word}\b", text, re.M) is not None


def test_the_page_of_failure_codes_is_as_printed() -> None:
    assert (REFERENCE / "failure-codes.md").read_text() == page(), "run python -m local_dev.failure_codes"


@pytest.mark.parametrize("key", sorted({*settings(PipelineSpec)}))
def test_every_setting_of_a_pipeline_is_in_the_reference(key: str) -> None:
    assert mentioned(key, (REFERENCE / "pipeline.md").read_text())


@pytest.mark.parametrize("key", sorted({*settings(FunctionSpec)}))
def test_every_setting_of_a_function_is_in_the_reference(key: str) -> None:
    assert mentioned(key, (REFERENCE / "function.md").read_text())


def commands(group: Any, before: str = "") -> Iterator[str]:
    """Every command as it is typed, those of groups included."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}"


COMMANDS = sorted(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_reference(command: str) -> None:
    assert mentioned(command, (REFERENCE / "cli.md").read_text())


def test_the_pipeline_that_the_reference_shows_is_one() -> None:
    (shown, *_) = re.findall(r"```yaml\n(.*?)```", (REFERENCE / "pipeline.md").read_text(), re.S)
    PipelineSpec.model_validate(yaml.safe_load(shown))


def test_the_function_that_the_reference_shows_is_one() -> None:
    (shown, *_) = re.findall(r"```yaml\n(.*?)```", (REFERENCE / "function.md").read_text(), re.S)
    FunctionSpec.model_validate(yaml.safe_load(shown))


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_has_a_meaning_and_a_remedy_each_a_sentence(code: str) -> None:
    for text in (CODES[code].meaning, CODES[code].remedy):
        assert re.fullmatch(r"[A-Z`].*\.", text)
        assert text.isprintable()


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_setting_that_a_remedy_names_is_one(code: str) -> None:
    pipeline = load_pipeline(ROOT)
    words = CODES[code].meaning + CODES[code].remedy
    for stage, parameter in re.findall(r"`stages\.(\w+)\.parameters\.(\w+)`", words):
        assert parameter in pipeline.stages[stage].function.parameters
    sections: dict[str, type[BaseModel]] = {"images": Images, "delivery": Delivery, "resources": Resources}
    for section, key in re.findall(r"`(images|delivery|resources)\.(\w+)`", words):
        assert key in sections[section].model_fields
    assert not re.search(r"`(fetch|notify|detect|classify|compile)\.", words), "a stage's settings are under stages"


@pytest.mark.parametrize(
    "named",
    sorted({*re.findall(r"docs/[\w/-]+\.md", "".join(p.read_text() for p in (ROOT / "trapline").rglob("*.py")))}),
)
def test_a_page_that_an_error_names_is_there(named: str) -> None:
    assert (ROOT / named).is_file()


@pytest.mark.parametrize(
    "page_", sorted(str(p.relative_to(ROOT)) for p in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
)
def test_a_link_between_pages_leads_somewhere(page_: str) -> None:
    text = (ROOT / page_).read_text()
    for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", text):
        assert ((ROOT / page_).parent / target).exists(), target


# Registries other than the public ones everybody has, and folders of one machine.
MACHINE = re.compile(
    rb"(?<![\w.])/(?:home|Users|root|work|workspace|mnt/[a-z])/[A-Za-z0-9_.]"
    rb"|--?(?:extra-)?index-url|trusted-host|_proxy=|/simple/?\b|artifactory|nexus\.|pypi\.(?!org)"
)
ALLOWED = (b"/home/station", b"/root/.cache/")


def tracked() -> list[str]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    return [name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_registry_or_a_folder_of_a_machine() -> None:
    files = tracked()
    if not files:
        pytest.skip("this is no clone")
    own = Path(__file__).relative_to(ROOT).as_posix()
    found = [
        f"{name}: {match[0].decode(errors='replace')}"
        for name in files
        if name != own and not name.endswith((".onnx", ".JPG", ".png"))
        for match in MACHINE.finditer((ROOT / name).read_bytes())
        if not match[0].startswith(ALLOWED)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text", [b"see /home/ada/traps", b"in /root/traps", b"--index-url x", b"https://pypi.example.org/simple/"]
)
def test_the_search_for_machines_finds_them(text: bytes) -> None:
    assert MACHINE.search(text)


def test_every_find_of_the_how_to_finds_every_image_that_the_pipeline_reads(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    images = {f"a{suffix}" for suffix in IMAGE_SUFFIXES} | {f"B{suffix.upper()}" for suffix in IMAGE_SUFFIXES}
    for name in (*images, "clip.mov", "raw.cr2", "notes.txt", "._a.jpg", "jpg"):
        (tmp_path / "card" / name).touch()
    text = (ROOT / "docs" / "how-to" / "finish-a-night.md").read_text()
    found = re.findall(r"^    (LC_ALL=C find .*?)(?:-printf \S+ )?\|$", text, re.MULTILINE)
    assert len(found) == 3 and text.count(" find ") == 3
    for line in found:
        out = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert {Path(name).name for name in out.splitlines()} == images
