"""The examples of docs/security.md, as a reader would copy them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from certificates import make_certificates
from exporter.config import load
from exporter.web_file import read

TEXT = (Path(__file__).parent.parent / "docs" / "security.md").read_text(encoding="utf-8")


def examples(kind: str) -> list[str]:
    return re.findall(rf"```yaml {kind}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the examples name."""
    made = make_certificates(tmp_path)
    made.server_cert.rename(tmp_path / "page.pem")
    made.server_key.rename(tmp_path / "page.key")
    made.stranger.rename(tmp_path / "clients-ca.pem")
    (tmp_path / "page.password").write_text("secret")
    return tmp_path


@pytest.mark.servers
@pytest.mark.parametrize("text", examples("web"))
def test_web_configurations(folder: Path, text: str) -> None:
    """Each is taken here, and by promtool but for keys that are newer than it."""
    path = folder / "web.yml"
    path.write_text(text)
    assert read(path).files[0] == path
    path.write_text(re.sub(r"^(rate_limit:\n(  .*\n)+|  client_allowed_sans:.*\n)", "", text, flags=re.MULTILINE))
    subprocess.run(("promtool", "check", "web-config", path), check=True, capture_output=True, timeout=60)


def test_there_are_examples() -> None:
    """None of them was overlooked."""
    assert [len(examples(kind)) for kind in ("web", "config", "prometheus")] == [3, 2, 1]
    assert len(re.findall(r"```yaml", TEXT)) == 6


@pytest.mark.parametrize("text", examples("config"))
def test_configurations(folder: Path, text: str) -> None:
    """Each is a good beginning of a configuration."""
    (folder / "web.yml").write_text("")
    path = folder / "config.yaml"
    path.write_text(f"{text}\nprocesses: {{directory: box}}\n")
    assert load(path).web.reload is ("reload" in text)


@pytest.mark.servers
def test_the_one_of_prometheus(folder: Path) -> None:
    """Promtool takes the scrape job."""
    path = folder / "prometheus.yml"
    (text,) = examples("prometheus")
    path.write_text(text)
    subprocess.run(("promtool", "check", "config", path), check=True, capture_output=True, timeout=60)


def test_the_hash_that_it_makes(folder: Path) -> None:
    """The command prints a hash that is taken."""
    (command,) = re.findall(r"```sh\npython3 -c '(.*)'\n```", TEXT)
    code = command.replace("getpass.getpass()", "'secret'")
    made = subprocess.run((sys.executable, "-c", code), check=True, capture_output=True, text=True)
    (folder / "web.yml").write_text(f"basic_auth_users: {{prometheus: {made.stdout.strip()}}}")
    assert read(folder / "web.yml").users.keys() == {"prometheus"}
