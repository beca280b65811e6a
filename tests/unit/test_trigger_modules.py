"""How a project's triggers are found and imported, and what is said of one that does not fit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from trapline.cli.triggers import trigger_module
from trapline.errors import ConfigError


@pytest.mark.parametrize("line", ["from trapline.store.s3_boto import no_more", "import trapline.store.no_more"])
def test_a_trigger_of_another_release_is_told_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "triggers"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "triggers").mkdir()
    (tmp_path / "triggers" / "__init__.py").write_text("")
    (tmp_path / "triggers" / "listen.py").write_text(f"{line}\n")
    try:
        with pytest.raises(
            ConfigError, match=r"triggers/listen\.py is of another release of Trapline: .*no_more"
        ) as told:
            trigger_module(tmp_path, "listen")
    finally:
        sys.modules.pop("triggers", None)
    assert "Copy triggers/listen.py anew" in told.value.remedy
