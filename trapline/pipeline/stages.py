"""The stages of a pipeline together: what kind each is, what feeds it, where each may write. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Literal

from trapline.errors import ConfigError
from trapline.pipeline.reading import did_you_mean
from trapline.pipeline.spec import PipelineSpec, StageSpec

StageKind = Literal["fetch", "image", "gather", "notify"]


def check_prefixes(spec: PipelineSpec) -> dict[str, StageKind]:
    """The kind of each stage, once it is sure that none writes where another one writes or reads."""
    own = spec.prefixes.model_dump()
    for (part, prefix), (other, within) in permutations(own.items(), 2):
        if within.startswith(prefix):
            raise _wrong(f"prefixes.{other}", f"{within} lies in {prefix}, kept for {part}", "Choose another prefix.")
    kinds = {name: _kind(spec, name, stage) for name, stage in spec.stages.items()}
    for name, stage in spec.stages.items():
        _check_output(name, stage, kinds[name], own)
    _check_alone(spec, kinds)
    return kinds


def parents_of(spec: PipelineSpec, name: str, kinds: Mapping[str, StageKind]) -> tuple[str, ...]:
    """The per-image stages that a stage reads. Raises where nothing feeds it."""
    kind, sources = kinds[name], spec.stages[name].source
    if kind in ("fetch", "notify") or (sources == (spec.prefixes.incoming,) and kind == "image"):
        return ()
    writers = {s.to: other for other, s in spec.stages.items() if kinds[other] == "image"}
    missing = [source for source in sources if source not in writers]
    if not missing:
        return tuple(writers[source] for source in sources)
    source = missing[0]
    have = [
        *([spec.prefixes.incoming] if kind == "image" and len(sources) == 1 else []),
        *(to for to in writers if to != spec.stages[name].to),
    ]
    what = "compiles" if kind == "gather" else "joins"
    why = f"it {what} records, not images" if source == spec.prefixes.incoming else f"nothing writes {source}"
    raise _wrong(
        f"stages.{name}.from", why, f"It can read: {', '.join(have) or 'nothing'}.{did_you_mean(source, have)}"
    )


def ordered(parents: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Stage names, parents first, otherwise as written. Raises where stages read each other in a circle."""
    done: list[str] = []
    left = dict(parents)
    while left:
        ready = [name for name, needs in left.items() if all(need in done for need in needs)]
        if not ready:
            circle = ", ".join(sorted(_circle(left)))
            raise _wrong("stages", f"{circle} read each other in a circle", "Have one of them read incoming/.")
        done.append(ready[0])
        del left[ready[0]]
    return done


def _circle(left: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Some stages that read each other, without those that only wait for them."""
    path: list[str] = [next(iter(left))]
    while (before := next(need for need in left[path[-1]] if need in left)) not in path:
        path.append(before)
    return set(path[path.index(before) :])


def _kind(spec: PipelineSpec, name: str, stage: StageSpec) -> StageKind:
    own: dict[str, StageKind] = {spec.prefixes.jobs: "fetch", spec.prefixes.results: "notify"}
    kind: StageKind = "gather" if stage.gather else own.get(stage.source[0], "image")
    if len(stage.source) > 1:
        _check_join(name, stage, kind)
    return kind


def _check_join(name: str, stage: StageSpec, kind: StageKind) -> None:
    place = f"stages.{name}.from"
    if kind != "image":
        remedy = "Have a stage join them first, and read what that one writes."
        raise _wrong(place, f"it names {len(stage.source)} prefixes, but this stage reads one", remedy)
    twice = next((source for source in stage.source if stage.source.count(source) > 1), "")
    if twice:
        raise _wrong(place, f"it names {twice} twice", "Name each prefix once.")


def _check_output(name: str, stage: StageSpec, kind: StageKind, own: Mapping[str, str]) -> None:
    place = f"stages.{name}.to"
    expected = {"fetch": own["incoming"], "gather": own["results"], "notify": own["receipts"]}.get(kind)
    if expected and stage.to != expected:
        what = "with `gather: job`" if kind == "gather" else f"that reads {stage.source[0]}"
        raise _wrong(place, f"a stage {what} writes {expected}, not {stage.to}", f"Write `to: {expected}`.")
    for source in stage.source:
        if _overlap(stage.to, source):
            remedy = "A stage that wrote there would start itself again; choose another prefix."
            raise _wrong(place, f"{stage.to} lies where the stage itself reads ({source})", remedy)
    part = next((part for part, prefix in own.items() if _overlap(stage.to, prefix)), "")
    if kind == "image" and part:
        gather = "Add `gather: job`, if it compiles a job; else choose" if part == "results" else "Choose"
        remedy = f"{gather} another prefix, such as {name}/."
        raise _wrong(place, f"{stage.to} lies in or around {own[part]}, which is kept for {part}", remedy)


def _check_alone(spec: PipelineSpec, kinds: Mapping[str, StageKind]) -> None:
    """One stage to a prefix; one `fetch`, one `gather`, one `notify`; and something that reads images."""
    for first, second in _pairs(spec):
        one, two = spec.stages[first], spec.stages[second]
        if one.to == two.to:
            remedy = "Give each a prefix of its own, or name the second's function under the first's `alternatives`."
            raise _wrong(f"stages.{second}.to", f"{two.to} is already written by {first!r}", remedy)
        if _overlap(one.to, two.to):
            remedy = "Choose prefixes that do not contain each other."
            raise _wrong(f"stages.{second}.to", f"{two.to} lies in or around {one.to}, which {first!r} writes", remedy)
    if "image" not in kinds.values():
        example = f"detect: {{function: detect, from: {spec.prefixes.incoming}, to: detections/}}"
        raise _wrong("stages", f"none reads the images in {spec.prefixes.incoming}", f"Add one, such as `{example}`.")


def _pairs(spec: PipelineSpec) -> Iterator[tuple[str, str]]:
    names = list(spec.stages)
    return ((first, second) for n, second in enumerate(names) for first in names[:n])


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _wrong(place: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError(f"pipeline.yaml: {place}: {problem}.", remedy=remedy)
