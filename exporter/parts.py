"""What a configuration is made into: the letterbox, the samplers and the joint between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exporter.config import Config, ServerConfig
from exporter.joint import Joint
from exporter.letterbox import Letterbox, Mail
from exporter.sampler import Sampler

NewSampler = Callable[[ServerConfig, Mapping[str, int] | None], Sampler]
"""Makes a sampler, which goes on from these counts of errors."""


@dataclass(frozen=True)
class Parts:
    """All of it; replaced as a whole, so that a look ends with the parts that it began with."""

    config: Config
    letterbox: Letterbox | None
    joint: Joint
    samplers: tuple[Sampler, ...]

    def claim(self) -> None:
        """Be the one sidecar of the letterbox, or say that another one is; may be called again."""
        if self.letterbox is not None:
            self.letterbox.claim()

    def read(self) -> Mail:
        """Return what the processes published."""
        return Mail() if self.letterbox is None else self.letterbox.read()


def assemble(
    config: Config, clock: Callable[[], float], new_sampler: NewSampler, *, before: Parts | None = None
) -> Parts:
    """Make the parts; what is the same as ``before`` is taken from there, with all that it knows and has open."""
    if before is None:
        joint = Joint(config.servers, leak_after=config.leak_after)
        samplers = tuple(new_sampler(server, None) for server in config.servers)
        return Parts(config, _letterbox(config, clock), joint, samplers)
    same = {sampler.server: sampler for sampler in before.samplers}
    counts = {sampler.server.name: sampler.view().errors for sampler in before.samplers}
    joint = Joint(config.servers, leak_after=config.leak_after, before=before.joint)
    if not joint.shares_names(before.joint):
        joint.start()
    return Parts(
        config,
        before.letterbox if _is_same_box(config, before.config) else _letterbox(config, clock),
        joint,
        tuple(same.get(server) or new_sampler(server, counts.get(server.name)) for server in config.servers),
    )


def dismiss(before: Parts, now: Parts) -> None:
    """Put away what is not used any more; a sample that is under way on a silent server ends by its timeout."""
    if not now.joint.shares_names(before.joint):
        before.joint.stop()
    if before.letterbox is not None and before.letterbox is not now.letterbox:
        before.letterbox.close()
    for sampler in before.samplers:
        if sampler not in now.samplers:
            threading.Thread(target=sampler.close, name="pool-exporter-dismiss", daemon=True).start()


def _letterbox(config: Config, clock: Callable[[], float]) -> Letterbox | None:
    directory = config.processes.directory
    return None if directory is None else Letterbox(directory, users=config.processes.users, clock=clock)


def _is_same_box(now: Config, before: Config) -> bool:
    return (now.processes.directory, now.processes.users) == (before.processes.directory, before.processes.users)
