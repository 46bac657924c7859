"""The configuration: a YAML file in, one frozen Config out, or one ConfigError that lists every fault.

The text is read by `yaml_nodes`, held against `shape`, and only then made into a Config: there is no unchecked one.
Relative paths, of ``processes.directory``, ``!file`` and certificates, begin at the folder that the file lies in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL

from exporter import files
from exporter.fields import Surroundings
from exporter.shape import RootSection, ServerSection, check
from exporter.tls import Tls
from exporter.values import NO_OFFERS, Offers, family_of
from exporter.yaml_nodes import Fault, parse

__all__ = ["Config", "ConfigError", "Fault", "ProcessesConfig", "ServerConfig", "WebConfig", "load"]


class ConfigError(Exception):
    """A configuration that cannot be used, with everything that is wrong with it in the order of the file."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.file, fault.line, fault.column, fault.path)))
        super().__init__("\n".join(map(str, self.faults)))


@dataclass(frozen=True)
class WebConfig:
    """Where the page is served; port 0 stands for any free one.

    ``config_file`` is who may see it, over TLS or not; ``reload`` lets the configuration be read again over HTTP.
    """

    host: str
    port: int
    config_file: Path | None = None
    reload: bool = False


@dataclass(frozen=True)
class ProcessesConfig:
    """Where the instrumented processes publish; None when none do.

    ``users`` are the ids of those whose files are read beside our own, root's and the directory's owner's; None stands
    for everybody. ``per_process`` asks for the label ``process``.
    """

    directory: Path | None
    users: frozenset[int] | None = frozenset()
    per_process: bool = False


@dataclass(frozen=True)
class ServerConfig:
    """One database server to sample. Durations are seconds; ``url`` holds the password and hides it when shown.

    ``dialect`` is its family of servers. Without ``tls``, what the URL's query says of that counts.
    """

    name: str
    url: URL
    dialect: str
    interval: float
    timeout: float
    stale_after: float
    pools: tuple[str, ...]
    tls: Tls | None = None


@dataclass(frozen=True)
class Config:
    """Everything that the sidecar is told."""

    web: WebConfig
    processes: ProcessesConfig
    leak_after: float
    servers: tuple[ServerConfig, ...]


def load(path: Path, *, offers: Offers = NO_OFFERS) -> Config:
    """Read and check a configuration, and fetch its secrets.

    ``offers`` are the families of servers that others bring along: what a URL may begin with besides ours.

    Raises:
        ConfigError: the file holds faults; all of them are listed.
        OSError: the file cannot be read.
    """
    try:
        content = files.read(path)
    except files.UnfitError as error:
        raise ConfigError([Fault(1, "", str(error))]) from None
    root, faults = check(parse(content), Surroundings(os.environ, path.parent, offers))
    if root is None:
        raise ConfigError(faults)
    return _config(root)


def _config(root: RootSection) -> Config:
    return Config(
        web=WebConfig(*root.web.listen, config_file=root.web.config_file, reload=root.web.reload),
        processes=ProcessesConfig(
            root.processes.directory, users=root.processes.users, per_process=root.processes.per_process
        ),
        leak_after=root.leak_after,
        servers=tuple(_server(name, section) for name, section in root.servers.items()),
    )


def _server(name: str, section: ServerSection) -> ServerConfig:
    password = section.password
    return ServerConfig(
        name=name,
        url=section.url if password is None else section.url.set(password=password.get_secret_value()),
        dialect=family_of(section.url),
        interval=section.interval,
        timeout=section.patience(),
        stale_after=section.stale_after,
        pools=tuple(section.pools),
        tls=None if section.tls is None else section.tls.settings(),
    )
