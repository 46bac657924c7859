"""Every block of docs/attaching.md, and of the README's part on attaching, does what it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from attaching import PROGRAM, ROOT, environment, launch, write

PAGE = (ROOT / "docs" / "attaching.md").read_text()
README = re.split(r"^## ", (ROOT / "README.md").read_text().partition("\n## Attach\n")[2], flags=re.MULTILINE)[0]
VISIT = {
    "FastAPI": """
import asyncio, httpx
async def visit():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://shop") as client:
        assert (await client.get("/")).json() == 1
        assert "sqlalchemy_pool_checkouts_total" in (await client.get("/metrics/")).text
asyncio.run(visit())
""",
    "Flask-SQLAlchemy": "assert app.test_client().get('/').text == '1'\n",
}
SHOW_PAGE = "from prometheus_client import generate_latest\nprint(generate_latest().decode())\n"
REGISTER = (
    "from sqlalchemy.dialects import plugins\n"
    "plugins.register('pool_exporter', 'exporter.plugin', 'PoolExporterPlugin')\n"
)
"""What an installation does by its metadata."""


def blocks(language: str, page: str = PAGE + README) -> list[tuple[str, str]]:
    """Return each block of a language under the heading that it stands below."""
    found, heading = [], ""
    for part in re.finditer(rf"^#+ ([^\n]+)$|^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        heading = part[1] or heading
        if part[2]:
            found.append((heading, part[2]))
    return found


@pytest.mark.parametrize(("heading", "code"), blocks("python"), ids=[heading for heading, _ in blocks("python")])
def test_python(tmp_path: Path, heading: str, code: str) -> None:
    """A program that holds the block has its pool on its page, with the connection that it used."""
    program = write(tmp_path, "program.py", f"{REGISTER}{code}{VISIT.get(heading, '')}{SHOW_PAGE}")
    done = subprocess.run(
        [sys.executable, program], cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    name = "orders" if '"orders"' in code or "=orders" in code else "sqlite:///shop.db"
    assert f'sqlalchemy_pool_checkouts_total{{pool="{name}"}} 1.0' in done.stdout


def test_sh(tmp_path: Path) -> None:
    """The command is one that `run` understands, and it watches the program."""
    (command,) = {command for _, command in blocks("sh")}
    program, verb, end, python, script = shlex.split(command)
    assert (program, verb, end, python) == ("pool-exporter", "run", "--", "python")
    assert launch(tmp_path, sys.executable, write(tmp_path, script, PROGRAM)).stdout == "1\n"


def test_every_way_is_shown() -> None:
    """The page shows each way that there is, and the frameworks that were asked for."""
    shown = {heading for heading, _ in (*blocks("python", PAGE), *blocks("sh", PAGE))}
    frameworks = {"Asynchronous engines", "FastAPI", "SQLModel", "Flask-SQLAlchemy"}
    assert shown == {"One engine", "Every engine", "The URL, or the options", "No change at all", *frameworks}
