"""Puts what new projects and functions are made of into the wheel, under `trapline/_template/`."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TemplateHook(BuildHookInterface):
    """Adds the files one by one, so that what `trapline init` and `new function` copy is what the wheel carries."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Runs before the wheel is written. An editable install reads the source tree instead."""
        if version == "editable":
            return
        root = Path(self.root)
        sys.path.insert(0, self.root)
        try:
            from trapline.template import template_files
        finally:
            sys.path.remove(self.root)
        for source in template_files(root):
            build_data["force_include"][str(source)] = f"trapline/_template/{source.relative_to(root).as_posix()}"
