"""What every Python process under `pool-exporter run` loads first: it waits for SQLAlchemy's first engine.

Standard library only, and as little of it as possible: most processes never make an engine, and this file may be
loaded by the Python of another environment than the one that it was installed into.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PACKAGE = "sqlalchemy"


class _Finder:
    """Finds SQLAlchemy where the others find it, to hear when it has been imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != _PACKAGE:
            return None
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = None if find is None else find(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    """Loads SQLAlchemy as its own loader does, which stands here for everything else too."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _wait_for_engines()


def _wait_for_engines() -> None:
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    try:
        _hook(sys.modules["sqlalchemy.engine.interfaces"].Dialect)
    except Exception as error:
        _say(error)


def _hook(dialect: Any) -> None:
    """Stand at the documented hook for new engines, until exporter.instrument_all takes over this very function.

    Not before the first engine is exporter imported: it brings prometheus-client, which looks at the environment
    when it is imported, and not every program that knows SQLAlchemy connects to a database.
    """
    before = vars(dialect)["engine_created"]

    def engine_created(cls: Any, engine: Any) -> None:
        before.__get__(None, cls)(engine)
        try:
            engine_created.pool_exporter_attach(engine)  # type: ignore[attr-defined]
        except Exception as error:
            _say(error)

    def first(engine: Any) -> None:
        exporter = _exporter()
        if engine_created.pool_exporter_attach is first:  # type: ignore[attr-defined]
            exporter.instrument_all()
        attach = engine_created.pool_exporter_attach  # type: ignore[attr-defined]
        # Still ours when somebody else stands before us at the hook.
        (exporter.attach if attach is first else attach)(engine)

    engine_created.pool_exporter_attach = first  # type: ignore[attr-defined]
    dialect.engine_created = classmethod(engine_created)


def _exporter() -> Any:
    """Import exporter, but not a module of the program's own that has the same name."""
    import importlib.util

    spec = importlib.util.find_spec("exporter")
    if spec is None:
        raise ModuleNotFoundError("install sqlalchemy-pool-exporter into the environment of the program")
    folders = spec.submodule_search_locations or ()
    if not any(os.path.exists(os.path.join(folder, "everywhere.py")) for folder in folders):
        raise ModuleNotFoundError(f"the program has a module of its own with the name exporter: {spec.origin}")
    import exporter

    return exporter


_said = False


def _say(error: Exception) -> None:
    """Say once why nothing is watched; the program goes on as if it had been started without us."""
    global _said
    if _said:
        return
    _said = True
    try:
        import logging

        logging.getLogger("exporter").warning(
            "pool-exporter run: the pools of process %d are not watched: %s", os.getpid(), error
        )
    except Exception:
        pass


def _begin() -> None:
    if _PACKAGE in sys.modules:
        _wait_for_engines()
    else:
        sys.meta_path.insert(0, _Finder())


def _leave() -> None:
    """Take our folder off the path again: children find it in PYTHONPATH, and the program need not know of it."""
    folder = os.path.dirname(__file__)
    sys.path[:] = [entry for entry in sys.path if entry != folder]
    sys.modules.pop("sitecustomize", None)


_begin()
_leave()
# The sitecustomize that this one hides. Where there is none, Python takes the error as it would have without us.
__import__("sitecustomize")
