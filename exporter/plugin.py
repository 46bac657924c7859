"""The plugin of create_engine: `plugins=["pool_exporter"]`, or `?plugin=pool_exporter` in the URL."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from sqlalchemy.engine import URL, CreateEnginePlugin, Engine

from exporter import attach
from exporter.contained import contain
from exporter.wish import Wish

_PREFIX = "pool_exporter_"

_log = logging.getLogger(__name__)


class PoolExporterPlugin(CreateEnginePlugin):
    """Instruments the engine that is being made.

    Takes pool_exporter_name, pool_exporter_leak_after, pool_exporter_call_sites from the URL or from create_engine,
    and pool_exporter_registry from create_engine. An option that cannot be used is said and left out: the engine is
    made all the same.
    """

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        self._options: dict[str, Any] = {}
        try:
            given = {key: kwargs.pop(key) for key in list(kwargs) if key.startswith(_PREFIX)}
            self._options = _options({**_ours(url), **given})
        except Exception:
            contain("plugin")

    def update_url(self, url: URL) -> URL:
        """Take our options out of the URL: the driver would take them for its own."""
        return url.difference_update_query(list(_ours(url)))

    def engine_created(self, engine: Engine) -> None:
        """Instrument the engine; whatever goes wrong, the application gets it."""
        try:
            attach(engine, Wish(**self._options))
        except Exception:
            contain("plugin")


def _ours(url: URL) -> dict[str, Any]:
    return {key: value for key, value in url.query.items() if key.startswith(_PREFIX)}


def _options(given: Mapping[str, Any]) -> dict[str, Any]:
    options = {}
    for key, each in given.items():
        name = key.removeprefix(_PREFIX)
        # Given twice in a URL, the last one holds, as in create_engine; None is what an unset setting often is.
        value = each[-1] if isinstance(each, tuple) and each else each
        if value is None:
            continue
        try:
            options[name] = _READERS.get(name, _unknown)(value)
        except (TypeError, ValueError) as error:
            _log.warning("%s=%r is left out: %s", key, value, error)
    return options


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not seconds > 0:
        raise ValueError("give a number of seconds above 0")
    return seconds


def _switch(value: Any) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if str(value).lower() not in words:
        raise ValueError("give true or false")
    return words[str(value).lower()]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("give a text")
    return value


def _registry(value: Any) -> CollectorRegistry:
    if not isinstance(value, CollectorRegistry):
        raise TypeError("give a CollectorRegistry of prometheus_client, in create_engine")
    return value


def _unknown(_value: Any) -> Any:
    raise ValueError(f"there is no such option; there are {', '.join(_PREFIX + name for name in _READERS)}")


_READERS: dict[str, Callable[[Any], Any]] = {
    "name": _text,
    "leak_after": _seconds,
    "call_sites": _switch,
    "registry": _registry,
}
