"""Where in the application a connection was taken: two pointers at checkout, words only when somebody asks."""

from __future__ import annotations

import functools
import inspect
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType

import sqlalchemy
from sqlalchemy.engine import Engine

from exporter.readable import readable


def _folder(path: str) -> str:
    return str(Path(path).resolve()) + "/"


# The folder of scripts too: the last frame below an installed application is the command that started its server.
_LIBRARIES = tuple(
    sorted({_folder(path) for key, path in sysconfig.get_paths().items() if "lib" in key or key == "scripts"})
)
_INSTALLED = ("/site-packages/", "/dist-packages/")
# What stands between the application and its connection whoever installed it, and however.
_CORE = (
    _folder(sysconfig.get_paths()["stdlib"]),
    *(_folder(str(Path(str(module.__file__)).parent)) for module in (sqlalchemy, sys.modules[__package__])),
)

_DEMO = (_folder(str(Path(str(sys.modules[__package__].__file__)).parent / "demo")),)
"""An application that we bring along: what it holds is its own doing, wherever it is installed."""

CallSite = tuple[CodeType, int]
"""A function's code and the instruction that it was at. Holds no frame, hence none of the application's variables."""

_getframe = sys._getframe  # noqa: SLF001  what it is for
_CONNECT = Engine.connect.__code__
_AWAITED = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR  # what a task is made of
_MOST_FUNCTIONS = 1000
_MOST_LIBRARY_FUNCTIONS = 10_000
_MOST_DESCRIPTIONS = 4000

_application: dict[int, dict[int, CallSite]] = {}
"""By the id of the application's functions' code: the call sites that were seen in each, by instruction. They are made
once for all connections, and hold the code, so that the id stays its own."""

_libraries: dict[int, CodeType] = {}
"""By its id: code that is known to be a library's."""


def taken_at() -> CallSite | None:
    """Return the call site of the checkout that is going on, to whoever the pool's connect() calls; None as below.

    A step along the frames makes an object of each, and a walk costs more than all else at a checkout. A look at one
    frame by its number leaves those between alone: from Engine.connect() on they are Connection.__init__(),
    Engine.raw_connection(), the pool's connect() and who called us, and can be no others.
    """
    try:
        inner = _getframe(5)
    except ValueError:  # not as many
        return call_site(_getframe(3))
    frame = inner.f_back if inner.f_code is _CONNECT else _getframe(3)
    if frame is None:
        return None
    sites = _application.get(id(frame.f_code))
    return (sites and sites.get(frame.f_lasti)) or call_site(frame)


def call_site(frame: FrameType | None, *, of_task: bool = False) -> CallSite | None:
    """Return the innermost place, from ``frame`` outwards, that is the application's own; None when there is none.

    ``of_task`` says not to look beyond what the task awaits: there is the loop, and whoever called asyncio.run().
    """
    while frame is not None and (not of_task or frame.f_code.co_flags & _AWAITED):
        if id(frame.f_code) not in _libraries and not _learn(frame):
            return _remembered(frame.f_code, frame.f_lasti)
        frame = frame.f_back
    return None


def _remembered(code: CodeType, instruction: int) -> CallSite:
    site = code, instruction
    if len(_application) < _MOST_FUNCTIONS or id(code) in _application:
        return _application.setdefault(id(code), {}).setdefault(instruction, site)
    return site


def installed_site(frame: FrameType | None, *, of_task: bool = False) -> CallSite | None:
    """Return the innermost place that is not SQLAlchemy's or Python's: an application may be installed as they are."""
    while frame is not None and (not of_task or frame.f_code.co_flags & _AWAITED):
        if not _is_within(_source(frame), _CORE):
            return frame.f_code, frame.f_lasti
        frame = frame.f_back
    return None


def _learn(frame: FrameType) -> bool:
    code = frame.f_code
    library = id(code) not in _application and _is_library(_source(frame))
    if library and len(_libraries) < _MOST_LIBRARY_FUNCTIONS:  # exec() makes code of its own at every call
        _libraries[id(code)] = code
    return library


def _source(frame: FrameType) -> str:
    """Return the file that a frame's code is from; of generated code, as SQLAlchemy has some, its module's file."""
    filename = frame.f_code.co_filename
    if not filename.startswith("<"):
        return filename
    module = sys.modules.get(str(frame.f_globals.get("__name__")))
    return str(getattr(module, "__file__", None) or filename)


@functools.lru_cache(maxsize=4096)
def _is_library(filename: str) -> bool:
    if _is_within(filename, _DEMO):
        return False
    return _is_within(filename, _LIBRARIES + _CORE) or any(part in filename for part in _INSTALLED)


@functools.lru_cache(maxsize=4096)
def _is_within(filename: str, folders: tuple[str, ...]) -> bool:
    if filename.startswith("<frozen "):
        return True
    try:
        return str(Path(filename).resolve()).startswith(folders)
    except (OSError, RuntimeError):  # relative to a working directory that is removed; links that go in a circle
        return False


def coroutine_frame() -> FrameType | None:
    """Return where the task stands that SQLAlchemy's greenlet works for: an async application's frames end there."""
    greenlet = sys.modules.get("greenlet")
    if greenlet is None:
        return None
    parent = greenlet.getcurrent().parent
    frame: FrameType | None = None if parent is None else parent.gr_frame
    return frame


_descriptions: dict[tuple[int, int], tuple[CodeType, str]] = {}
"""By the id of a function's code: two functions of the same name and text are equal, wherever they stand."""


def described(site: CallSite) -> str:
    """Return a call site as ``file:line function``; the file without the folders that differ between hosts."""
    key = id(site[0]), site[1]
    known = _descriptions.get(key)
    if known is None:
        if len(_descriptions) >= _MOST_DESCRIPTIONS:
            _descriptions.clear()
        known = _descriptions[key] = site[0], _describe(site)
    return known[1]


def _describe(site: CallSite) -> str:
    code, instruction = site
    line = next((line for begin, end, line in code.co_lines() if begin <= instruction < end), None)
    return readable(f"{_short(code.co_filename)}:{line or code.co_firstlineno} {_function(code)}")


def _function(code: CodeType) -> str:
    return str(getattr(code, "co_qualname", code.co_name))  # Python 3.11 and newer know the qualified name


def _short(filename: str) -> str:
    path = Path(filename)
    folders: list[object] = [*sys.path]  # Python passes over what is no text
    for folder in folders:
        if folder and isinstance(folder, str) and path.is_relative_to(folder):
            return str(path.relative_to(folder))
    return path.name
