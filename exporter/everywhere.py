"""Every engine: the one place where SQLAlchemy tells of each engine that is made, whoever asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import Dialect, Engine

from exporter.contained import contain

_MARK = "pool_exporter_attach"


def on_every_engine(attach: Callable[[Engine], object]) -> None:
    """Call ``attach`` with every engine that is made from now on; what an earlier call gave is replaced.

    ``create_engine`` ends in the documented hook ``Dialect.engine_created``, and so does everything that calls it:
    asynchronous engines, SQLModel, Flask-SQLAlchemy, ``engine_from_config``. Nothing that ``attach`` raises gets out.
    """
    current = vars(Dialect)["engine_created"]
    # Found by its mark, not by a name of this module: a reload, or `pool-exporter run`, may have put it there.
    if hasattr(current.__func__, _MARK):
        setattr(current.__func__, _MARK, attach)
        return
    hook = _hook(current)
    setattr(hook, _MARK, attach)
    Dialect.engine_created = classmethod(hook)  # type: ignore[method-assign, assignment]


def _hook(before: Any) -> Any:
    def engine_created(cls: type[Dialect], engine: Engine) -> None:
        before.__get__(None, cls)(engine)
        try:
            getattr(engine_created, _MARK)(engine)
        except Exception:
            contain("instrument_all")

    return engine_created
