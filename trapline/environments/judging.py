"""Whether what is installed is what is needed, by way of what needs it. Pure, but for reading metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from trapline.environments.installed import Installed
from trapline.environments.requirements import Requirements


@dataclass(frozen=True)
class Need:
    """A distribution that is needed in certain versions."""

    requirement: Requirement
    by: tuple[str, ...] = ()  # the distributions that lead to it, the one that asks for it last; none: asked directly
    where: str = ""  # the line that asks for it, or for the first of those

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    def __str__(self) -> str:
        """The requirement without its marker, as pip takes it."""
        extras = f"[{','.join(sorted(self.requirement.extras))}]" if self.requirement.extras else ""
        place = f" @ {self.requirement.url}" if self.requirement.url else ""
        return f"{self.requirement.name}{extras}{place or self.requirement.specifier}"


@dataclass(frozen=True)
class Unmet:
    """A need that what is installed does not meet."""

    need: Need
    installed: Version | None  # None: not at all


def asked(requirements: Requirements) -> list[Need]:
    """What a requirements.txt asks for on this machine."""
    return [Need(line.requirement, where=line.where) for line in requirements.lines if _holds(line.requirement, ())]


def needs(roots: Iterable[Need], installed: Installed) -> Iterator[Need]:
    """The roots and everything that they need in turn, as far as it is installed; each once."""
    waiting = list(roots)
    seen: set[tuple[str, frozenset[str], str]] = set()
    opened: set[tuple[str, frozenset[str]]] = set()
    for need in waiting:  # grows while it is gone through
        extras = frozenset(need.requirement.extras)
        mark = (need.name, extras, str(need.requirement.specifier))
        if mark in seen:
            continue
        seen.add(mark)
        yield need
        found = installed.get(need.name)
        if found is None or (need.name, extras) in opened:
            continue
        opened.add((need.name, extras))
        by = (*need.by, f"{need.requirement.name} {found.version}")
        waiting += [Need(inner, by, need.where) for inner in found.needs(bool(extras)) if _holds(inner, extras)]


def unmet(roots: Iterable[Need], limits: Sequence[Need], installed: Installed) -> Iterator[Unmet]:
    """What is missing of the roots and of what they need, or there in a version that will not do."""
    limited: set[str] = set()
    for need in needs(roots, installed):
        found = installed.get(need.name)
        if found is None:
            yield Unmet(need, None)
        elif not met(need, found.version):
            yield Unmet(need, found.version)
        elif need.name not in limited:
            limited.add(need.name)
            wrong = (limit for limit in limits if limit.name == need.name and not met(limit, found.version))
            yield from (Unmet(limit, found.version) for limit in wrong)


def met(need: Need, version: Version) -> bool:
    """Whether a version will do. A pre-release that is installed counts like any other."""
    return need.requirement.specifier.contains(version, prereleases=True)


def exclude_each_other(one: SpecifierSet, other: SpecifierSet) -> bool:
    """Whether no version meets both, as far as the versions that they name and those next to them tell."""
    both = one & other
    return not any(both.contains(version, prereleases=True) for version in _candidates(both))


def _candidates(specifiers: SpecifierSet) -> Iterator[Version]:
    yield from (Version("0"), Version("1"), Version("99999"))
    for specifier in specifiers:
        text = specifier.version.removesuffix(".*")
        try:
            named = Version(text)
        except InvalidVersion:
            continue  # `===` takes any text
        release, epoch = named.release, f"{named.epoch}!" if named.epoch else ""
        yield named
        for place in range(len(release)):
            for step in (1, -1):
                if release[place] + step >= 0:
                    near = (*release[:place], release[place] + step)
                    yield Version(epoch + ".".join(map(str, near)))
                    if step < 0:
                        yield Version(epoch + ".".join(map(str, (*near, 99999))))
        yield Version(f"{epoch}{'.'.join(map(str, release))}.1")


def _holds(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, ""))
