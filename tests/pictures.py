"""Takes the pictures of the README from the lab: the page in light, in dark and on a phone, and the terminal."""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from browsers import PHONE, Browser, browsing
from exporter.demo.lab import performing
from exporter.demo.scenarios import SCENARIOS
from terminals import Terminal, terminal
from waiting import eventually

LARGEST = 200_000
"""Bytes of a picture; they are downloaded with the repository."""

_LAPTOP, _TOP = (1120, 900), (118, 24)
_SETTLED = 8.0  # seconds that a trouble is watched before the picture is taken, so that everything has found out
_CELL = (8.43, 18)  # of the picture's letters, in pixels
_COLOURS = ("#1e2227", "#dd3d55", "#3f9e5d", "#e0a93f", "#4a7fd0", "#c792ea", "#6cc7d9", "#e7eaed")
_GROUND, _INK = (21, 24, 28), (231, 234, 237)
_FRAME = """<!DOCTYPE html><meta charset="utf-8"><style>
body {{ margin: 0; padding: 16px; background: {background}; color: {foreground}; }}
pre {{ font: 14px/18px "DejaVu Sans Mono", monospace; margin: 0; }}
</style><pre>{code}</pre>"""


def take(folder: Path) -> None:
    """Write every picture into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as name, browsing() as browser:
        Path(name).chmod(0o711)
        with performing(SCENARIOS["leak"], Path(name) / "leak", on="postgresql") as performance:
            browser.show(performance.sidecar, size=_LAPTOP)
            _await(browser, "Leak")
            browser.picture(folder / "page-light.png", most=_bottom(browser, "#holders"))
            browser.show(performance.sidecar, size=PHONE)
            browser.picture(folder / "page-phone.png", most=PHONE[1])
            with terminal("--url", performance.sidecar, size=_TOP) as screen:
                eventually(lambda: "leak suspect" in screen.screen(), within=60)
                _terminal(browser, screen, folder / "top.png")
        with performing(SCENARIOS["stale"], Path(name) / "stale", on="mariadb") as performance:
            browser.show(performance.sidecar, size=_LAPTOP)
            _await(browser, "Stale")
            eventually(lambda: "gone on the server" in browser.text("#verdict"), within=60, every=0.2)
            browser.show(performance.sidecar, size=_LAPTOP, dark=True)
            browser.picture(folder / "page-dark.png", most=_bottom(browser, "#match"))
    for picture in sorted(folder.glob("*.png")):
        size = picture.stat().st_size
        print(f"{picture}: {size} bytes")
        if size > LARGEST:
            sys.exit(f"{picture} is larger than {LARGEST} bytes")


def _await(browser: Browser, verdict: str) -> None:
    eventually(lambda: browser.text("#verdict h2").startswith(verdict), within=120, every=0.3)
    time.sleep(_SETTLED)


def _bottom(browser: Browser, selector: str) -> int:
    """Return where a part of the page ends: a picture that ends there shows no half of the next."""
    script = "return document.querySelector(arguments[0]).getBoundingClientRect().bottom + scrollY"
    return int(browser.run(script, selector)) + 14


def _terminal(browser: Browser, screen: Terminal, path: Path) -> None:
    """Draw what stands on the terminal as it would look, by the styles that tmux gives."""
    drawn = path.resolve().with_suffix(".html")
    drawn.write_text(_html(screen.screen(styled=True)), encoding="utf-8")
    width, height = (round(cells * size) + 32 for cells, size in zip(_TOP, _CELL, strict=True))
    browser.show(drawn.as_uri(), size=(width, height))
    browser.picture(path, most=height)
    drawn.unlink()


def _html(styled: str) -> str:
    colours = [(*bytes.fromhex(each[1:]),) for each in _COLOURS]
    theme = TerminalTheme(_GROUND, _INK, [(red, green, blue) for red, green, blue in colours])
    console = Console(record=True, width=_TOP[0], file=io.StringIO(), color_system="truecolor")
    console.print(Text.from_ansi(styled), soft_wrap=True)
    return console.export_html(theme=theme, inline_styles=True, code_format=_FRAME)


if __name__ == "__main__":
    take(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/pictures"))
