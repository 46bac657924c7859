"""Samplers as tests hold them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy.engine import URL

from exporter.config import ServerConfig
from exporter.demo.databases import free_port
from exporter.records import ServerSnapshot, ServerView
from exporter.sampler import Sampler
from sites import PASSWORD


def no_ids() -> frozenset[int]:
    """The pools claim nothing."""
    return frozenset()


@contextlib.contextmanager
def sampling(server: ServerConfig, *, ids: Callable[[], frozenset[int]] = no_ids) -> Iterator[Sampler]:
    """Hold a sampler, and hang up afterwards."""
    sampler = Sampler(server, ids=ids)
    try:
        yield sampler
    finally:
        sampler.close()


def sampled(sampler: Sampler) -> ServerSnapshot:
    """Sample once, well."""
    sampler.sample()
    view = sampler.view()
    assert view.up, view.message
    assert view.snapshot is not None
    return view.snapshot


def failed(sampler: Sampler) -> ServerView:
    """Sample once, badly."""
    sampler.sample()
    view = sampler.view()
    assert not view.up
    return view


def unreachable(**changes: Any) -> ServerConfig:
    """Return a server that nobody runs."""
    url = URL.create("postgresql+psycopg", "shop", PASSWORD, "127.0.0.1", free_port(), "orders")
    config = ServerConfig(
        name="orders", url=url, dialect="postgresql", interval=15.0, timeout=5.0, stale_after=600.0, pools=()
    )
    return replace(config, **changes)
