"""The families of servers that other distributions bring along: found by name, loaded when a URL asks for one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from exporter.servers.family import Family

GROUP = "pool_exporter.servers"
"""The group of entry points: each is named like the dialect in the URLs of its servers."""

FUNCTIONS = ("engine", "prepare", "sample", "reason")
"""What a family has, as its Protocol says."""


class FamilyError(ValueError):
    """A family of servers that cannot be used, with its distribution and the cause; one line."""


def offers(ours: Collection[str]) -> Mapping[str, Callable[[], Family]]:
    """Return what loads each family of others, by dialect; it raises FamilyError. One named like ours is left out."""
    return {name: partial(_load, name, found) for name, found in _found().items() if name not in ours}


def overruled(ours: Collection[str]) -> list[str]:
    """Say of each family of others that is named like ours that it is not used."""
    return [
        f"the family of servers '{name}' of {_makers(found)} is not used: a built-in one cannot be replaced"
        for name, found in sorted(_found().items())
        if name in ours
    ]


def _found() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for each in entry_points(group=GROUP):
        found.setdefault(each.name, []).append(each)
    return found


def _load(name: str, found: list[EntryPoint]) -> Family:
    if len(found) > 1:
        raise FamilyError(f"the family of servers '{name}' comes with {_makers(found)}; uninstall one")
    said = f"the family of servers '{name}' of {_makers(found)} ({found[0].value})"
    try:
        family = found[0].load()
    except (Exception, SystemExit) as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise FamilyError(f"{said} cannot be loaded: {cause}; mend or uninstall it") from error
    lacking = [function for function in FUNCTIONS if not callable(getattr(family, function, None))]
    if lacking:
        raise FamilyError(f"{said} has no function {', '.join(lacking)}; docs/servers.md says what a family has")
    return cast("Family", family)


def _makers(found: list[EntryPoint]) -> str:
    named = ("an unknown distribution" if at.dist is None else f"{at.dist.name} {at.dist.version}" for at in found)
    return " and ".join(sorted(named))
