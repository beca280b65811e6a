"""requirements.txt as pip reads it, and whether what is installed will do."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tests.venvs import library
from trapline.environments.installed import Installed
from trapline.environments.judging import Need, asked, exclude_each_other, unmet
from trapline.environments.requirements import Requirements, read_requirements
from trapline.errors import ConfigError


def read(project: Path, text: str, **files: str) -> Requirements:
    folder = project / "functions" / "f"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "requirements.txt").write_text(text)
    for name, more in files.items():
        (folder / f"{name}.txt").write_text(more)
    return read_requirements(project, "f")


def texts(requirements: Requirements) -> list[str]:
    return [str(line.requirement) for line in requirements.lines]


def test_comments_blank_lines_and_continuations_are_read_as_pip_does(tmp_path: Path) -> None:
    found = read(tmp_path, "# a comment\n\nnumpy >= 2 # newer\nhttpx[http2]\\\n  ~=0.28\n")
    assert texts(found) == ["numpy>=2", "httpx[http2]~=0.28"]
    assert [line.where for line in found.lines] == [
        "functions/f/requirements.txt, line 3",
        "functions/f/requirements.txt, line 4",
    ]


def test_files_that_a_file_names_are_read_too(tmp_path: Path) -> None:
    found = read(
        tmp_path, "-r base.txt\n--requirement=more.txt\n-c limits.txt\n", base="a==1\n", more="b\n", limits="a<9\n"
    )
    assert texts(found) == ["a==1", "b"]
    assert [str(line.requirement) for line in found.limits] == ["a<9"]
    assert found.lines[0].where == "functions/f/base.txt, line 1"


def test_a_file_that_names_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"functions/f/requirements.txt names itself"):
        read(tmp_path, "-r base.txt\n", base="-r requirements.txt\n")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"functions/f/gone.txt cannot be read"):
        read(tmp_path, "-r gone.txt\n")


def test_options_for_pip_and_hashes_are_left_to_pip(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        f"--pre\n-f wheels/\n--no-binary :all:\na==1 --hash=sha256:{'0' * 64} \\\n  --hash=sha256:{'1' * 64}\n",
    )
    assert texts(found) == ["a==1"] and found.unjudged == ()


@pytest.mark.parametrize("line", ["-e ./here", "./here", "/srv/here", "git+https://example.org/x.git", "x-1.0.tar.gz"])
def test_what_has_no_name_is_told_to_be_unchecked(tmp_path: Path, line: str) -> None:
    found = read(tmp_path, f"{line}\n")
    assert found.unjudged == (line,) and not found.lines


def test_a_wheel_and_an_address_with_a_name_are_known_by_it(tmp_path: Path) -> None:
    found = read(tmp_path, "wheels/foo_bar-1.2-py3-none-any.whl\nbaz @ https://example.org/baz.zip\n")
    assert [(line.requirement.name, str(line.requirement.specifier)) for line in found.lines] == [
        ("foo-bar", "==1.2"),
        ("baz", ""),
    ]


def test_a_variable_is_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANTED_VERSION", "2")
    assert texts(read(tmp_path, "a==${WANTED_VERSION}\n")) == ["a==2"]


@pytest.mark.parametrize("line", ["numpy=>2", "numpy 2", "numpy>=two", "?", "a; python_version > ", "=="])
def test_a_line_that_nobody_can_read_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"functions/f/requirements.txt, line 2: .*is not a requirement") as told:
        read(tmp_path, f"a\n{line}\n")
    assert "\n" not in str(told.value) and "numpy>=2.1" in told.value.remedy


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    read(tmp_path, "")
    (tmp_path / "functions/f/requirements.txt").write_bytes(b"\xff\xfea")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_requirements(tmp_path, "f")


def test_a_function_without_the_file_needs_nothing(tmp_path: Path) -> None:
    assert read_requirements(tmp_path, "none").lines == ()


def test_only_what_the_file_says_makes_its_digest(tmp_path: Path) -> None:
    one = read(tmp_path, "a==1\n-r base.txt\n", base="b\n")
    assert read(tmp_path, "# why\na==1   # this\n\n-r base.txt\n", base="b\n").digest == one.digest
    assert read(tmp_path, "a==1\n-r base.txt\n", base="b>1\n").digest != one.digest


# -- judging


def problems(tmp_path: Path, text: str, **files: str) -> list[str]:
    found = read(tmp_path, text, **files)
    limits = [Need(line.requirement, where=line.where) for line in found.limits]
    return [
        f"{wrong.need.by[-1] if wrong.need.by else 'file'}: {wrong.need} ({wrong.installed})"
        for wrong in unmet(asked(found), limits, Installed([str(tmp_path / "site")]))
    ]


def test_what_is_there_in_the_right_version_is_no_problem(tmp_path: Path) -> None:
    library(tmp_path / "site", "Foo.Bar", "2.1rc1")
    assert problems(tmp_path, "foo-bar>=2\n") == []


def test_a_version_that_will_not_do_and_one_that_is_missing_are_told(tmp_path: Path) -> None:
    library(tmp_path / "site", "foo", "1.0")
    assert problems(tmp_path, "foo>=2\nbar\n") == ["file: foo>=2 (1.0)", "file: bar (None)"]


def test_what_a_requirement_needs_in_turn_is_judged_too(tmp_path: Path) -> None:
    site = tmp_path / "site"
    library(site, "foo", "1.0", ["middle", 'windows-only; sys_platform == "win32"', 'extra-only; extra == "more"'])
    library(site, "middle", "3.0", ["deep<2", "foo"])
    library(site, "deep", "2.5")
    assert problems(tmp_path, "foo\n") == ["middle 3.0: deep<2 (2.5)"]


def test_an_extra_brings_what_it_needs(tmp_path: Path) -> None:
    library(tmp_path / "site", "foo", "1.0", ['extra-only; extra == "more"'])
    assert problems(tmp_path, "foo[more]\n") == ["foo 1.0: extra-only (None)"]


def test_a_marker_of_another_system_asks_for_nothing(tmp_path: Path) -> None:
    assert problems(tmp_path, 'foo; python_version < "3"\nbar; sys_platform == "win32"\n') == []


def test_a_constraint_counts_for_what_is_needed_alone(tmp_path: Path) -> None:
    library(tmp_path / "site", "foo", "3.0")
    assert problems(tmp_path, "foo\n-c limits.txt\n", limits="foo<3\nbar<1\n") == ["file: foo<3 (3.0)"]


def test_a_distribution_whose_metadata_cannot_be_read_is_not_there(tmp_path: Path) -> None:
    library(tmp_path / "site", "foo", "1.0")
    (tmp_path / "site/foo-1.0.dist-info/METADATA").unlink()
    assert problems(tmp_path, "foo\n") == ["file: foo (None)"]


@pytest.mark.parametrize(
    ("one", "other", "exclude"),
    [
        ("<2", ">=2", True),
        ("==1.4", "==1.5", True),
        ("==1.*", ">=1.9", False),
        ("==1.*", ">=2", True),
        ("~=2.1", "<2.1", True),
        ("~=2.1", "<3", False),
        (">1,<2", "!=1.5", False),
        ("", "==7", False),
        (">=1.0", "<=1.0", False),
        (">1.0", "<=1.0", True),
        ("==2.13.0", ">=2.4", False),
        (">2.13,<2.13.1", "", False),
    ],
)
def test_versions_that_can_never_agree_are_known(one: str, other: str, exclude: bool) -> None:
    assert exclude_each_other(SpecifierSet(one), SpecifierSet(other)) is exclude
