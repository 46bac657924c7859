"""The style and the script of the status page, and the policy that lets in nothing but these two."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from urllib.parse import quote

from exporter.labels import Level

STYLE = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
"""The only style."""

SCRIPT = files(__package__).joinpath("refresh.js").read_text(encoding="utf-8")
"""The only script: it refreshes the page. Without it the page loads itself again."""

BUILD = hashlib.sha256((STYLE + SCRIPT).encode()).hexdigest()[:16]
"""What both are known by: a page whose sidecar has others loads itself anew."""


def _source(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; style-src {_source(STYLE)}; script-src {_source(SCRIPT)}; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The Content-Security-Policy: the style and the script by their hashes, itself to ask again, and its own icon."""


def _icon(colour: str) -> str:
    circle = f"<circle cx='8' cy='8' r='7' fill='{colour}'/>"
    drawing = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>{circle}</svg>"
    return f"data:image/svg+xml,{quote(drawing)}"


ICONS: Mapping[Level, str] = {
    "bad": _icon("#d1203c"),
    "warning": _icon("#e09a1a"),
    "info": _icon("#2f9e4f"),
    "good": _icon("#2f9e4f"),
}
"""The icon of the browser's tab, by the worst that there is. Its title says the same in words."""
