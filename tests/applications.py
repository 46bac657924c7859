"""Modules of an application, written where no library lies, as call sites are to find them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def application(folder: Path, name: str, source: str) -> ModuleType:
    """Write a module of an application, which lies where no library does, and import it."""
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
