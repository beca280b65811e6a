"""Finding a function's code in the project's folder and setting it up."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trapline.errors import ConfigError, Permanent
from trapline.pipeline.load import Pipeline
from trapline.pipeline.spec import FunctionSpec
from trapline.records import ModelRef, Pin
from trapline.runtime.items import Context

if TYPE_CHECKING:
    from trapline.models import Model


class Handler(Protocol):
    """What a function's class has. `setup` may be left out."""

    def handle(self, items: list[Any]) -> Any: ...


class Models(Protocol):
    """Where functions get their models from."""

    def load(self, ref: ModelRef) -> Model: ...


class RecipeRefused(Exception):
    """The function on this machine is not the one that the recipe names."""


class Functions:
    """The functions of a project, each set up once per recipe."""

    def __init__(self, pipeline: Pipeline, models: Models) -> None:
        self._pipeline = pipeline
        self._models = models
        self._ready: dict[str, Handler] = {}

    def ready(self, pin: Pin) -> Handler:
        """The handler for a recipe, set up. Raises `RecipeRefused`, a `Failure`, or what `setup` raises."""
        if pin.recipe not in self._ready:
            spec = self._spec(pin)
            handler = handler_class(spec, self._pipeline.folder)()
            setup = getattr(handler, "setup", None)
            if setup is not None:
                setup(self._context(pin))
            self._ready[pin.recipe] = handler
        return self._ready[pin.recipe]

    def _spec(self, pin: Pin) -> FunctionSpec:
        stage = self._pipeline.stages.get(pin.stage)
        spec = stage.functions.get(pin.function) if stage else None
        if spec is None:
            raise RecipeRefused(f"this project's stage {pin.stage!r} has no function {pin.function!r}")
        if spec.version != pin.version:
            raise RecipeRefused(
                f"function {pin.function!r} is version {spec.version} here; the job was pinned to {pin.version}"
            )
        return spec

    def _context(self, pin: Pin) -> Context:
        model = self._models.load(pin.model) if pin.model else None
        if model is not None and pin.model is not None and model.card.sha256 != pin.model.sha256:
            raise RecipeRefused(
                f"model {pin.model.name} {pin.model.version} has another hash than the job was pinned to"
            )
        return Context(function=pin.function, parameters=pin.parameters, recipe=pin.recipe, model=model)


def handler_class(spec: FunctionSpec, folder: Path) -> type[Handler]:
    """A function's class, imported from the project's folder. Raises `Permanent` naming what is missing."""
    if sys.path[:1] != [str(folder)]:
        sys.path.insert(0, str(folder))  # before an installed or editable copy of the same names
    module_name, _, name = spec.handler.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise Permanent(
            f"Function {spec.name!r}: {module_name} cannot be imported: {error}.", code="function_error"
        ) from error
    found = getattr(module, name, None)
    if found is None:
        have = ", ".join(
            sorted(n for n, v in vars(module).items() if isinstance(v, type) and v.__module__ == module_name)
        )
        raise Permanent(f"Function {spec.name!r}: {module_name} has no class {name!r}; found {have or 'none'}.")
    handler: type[Handler] = found
    return handler


def check_importable(folder: Path, spec: FunctionSpec) -> None:
    """Raise `ConfigError` where a function's handler is not in the project's folder. Nothing is run."""
    where = f"functions/{spec.name}/function.yaml: handler"
    module_name, _, name = spec.handler.partition(":")
    module = folder / Path(*module_name.split("."))
    path = next((p for p in (module.with_suffix(".py"), module / "__init__.py") if p.is_file()), None)
    if path is None:
        raise ConfigError(
            f"{where}: there is no {module.relative_to(folder)}.py.",
            remedy="Write `handler: functions.<name>.handler:<Class>`.",
        )
    try:
        names = _names_in(ast.parse(path.read_bytes()))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise ConfigError(
            f"{path.relative_to(folder)}, line {line}: {error}.", remedy="Mend the Python there."
        ) from None
    if name not in names:
        found = ", ".join(sorted(n for n in names if n[:1].isupper())) or "none"
        raise ConfigError(f"{where}: {path.relative_to(folder)} has no class {name!r}.", remedy=f"Found: {found}.")


def _names_in(tree: ast.Module) -> set[str]:
    """What a module defines or imports at its top level."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names
