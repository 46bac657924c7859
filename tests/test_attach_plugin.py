"""The create_engine plugin: by name in the options, or in the URL."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry
from sqlalchemy import create_engine, engine_from_config
from sqlalchemy.dialects import plugins

import exporter
from attaching import ROOT, Keep, checkouts, cleared_away, environment, use, value
from exporter.contained import contained_errors

NAME = "pool_exporter"


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the plugin, which an installation does by its metadata."""
    monkeypatch.setattr(plugins, "impls", dict(plugins.impls))
    plugins.register(NAME, "exporter.plugin", "PoolExporterPlugin")


@pytest.fixture
def keep() -> Iterator[Keep]:
    with cleared_away() as keep:
        yield keep


@pytest.fixture
def name(tmp_path: Path) -> str:
    """A name that no other test has left in the default registry."""
    return tmp_path.name


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/{tmp_path.name}"


def test_by_name(url: str, keep: Keep, name: str) -> None:
    """plugins=["pool_exporter"] instruments that engine and no other, in the default registry."""
    engine, other = keep(create_engine(url, plugins=[NAME])), keep(create_engine(url))
    use(engine)
    use(other)
    assert value(REGISTRY, "checkouts_total", pool=f"sqlite:///{name}") == 1


def test_by_url(url: str, keep: Keep, name: str) -> None:
    """?plugin=pool_exporter does the same, and nothing of it stays in the engine's URL."""
    engine = keep(create_engine(f"{url}?plugin={NAME}&pool_exporter_name=orders of {name}&timeout=7"))
    use(engine)
    assert value(REGISTRY, "checkouts_total", pool=f"orders of {name}") == 1
    assert dict(engine.url.query) == {"timeout": "7"}


def test_by_configuration(url: str, keep: Keep, name: str) -> None:
    """A configuration that holds such a URL needs no more."""
    use(keep(engine_from_config({"sqlalchemy.url": f"{url}?plugin={NAME}"})))
    assert value(REGISTRY, "checkouts_total", pool=f"sqlite:///{name}") == 1


def test_twice_is_once(url: str, keep: Keep, name: str) -> None:
    """Asked for in the URL and in the options, it is one instrumentation; either may hold the settings."""
    engine = keep(create_engine(f"{url}?plugin={NAME}&pool_exporter_name=orders of {name}", plugins=[NAME]))
    exporter.instrument(engine)
    use(engine)
    assert value(REGISTRY, "checkouts_total", pool=f"orders of {name}") == 1


def test_options(url: str, keep: Keep) -> None:
    """Each setting can be given to create_engine, which wins over the URL."""
    registry = CollectorRegistry()
    address = f"{url}?plugin={NAME}&pool_exporter_name=orders&pool_exporter_leak_after=1e-9&pool_exporter_call_sites=no"
    engine = keep(create_engine(address, pool_exporter_name="billing", pool_exporter_registry=registry))
    with engine.connect():
        assert value(registry, "overdue", pool="billing") == 1
        assert value(registry, "overdue_by_site", pool="billing", site="unknown") == 1
    assert checkouts(registry) == {"billing": 1}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("leak_after=soon", "could not convert string to float: 'soon'"),
        ("leak_after=-1", "give a number of seconds above 0"),
        ("leak_after=nan", "give a number of seconds above 0"),
        ("call_sites=perhaps", "give true or false"),
        ("registry=REGISTRY", "give a CollectorRegistry of prometheus_client, in create_engine"),
        ("leek_after=60", "there is no such option; there are pool_exporter_name, pool_exporter_leak_after, "),
    ],
)
def test_an_option_that_cannot_be_used(
    url: str, keep: Keep, caplog: pytest.LogCaptureFixture, wrong: str, said: str
) -> None:
    """A wrong option is said, with its value, and left out; the engine is made and watched."""
    engine = keep(create_engine(f"{url}?plugin={NAME}&pool_exporter_{wrong}"))
    use(engine)
    option, given = wrong.split("=")
    assert f"pool_exporter_{option}='{given}' is left out: {said}" in caplog.text
    assert exporter.instrument(engine).snapshot().checkouts == 1


def test_an_option_that_is_unset(url: str, keep: Keep, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """None, as settings are that nobody has set, is what is not given at all."""
    unset = dict.fromkeys(("name", "leak_after", "call_sites", "registry"))
    engine = keep(create_engine(url, plugins=[NAME], **{f"pool_exporter_{key}": given for key, given in unset.items()}))
    use(engine)
    assert value(REGISTRY, "checkouts_total", pool=f"sqlite:///{name}") == 1
    assert caplog.text == ""


def test_an_option_given_twice(url: str, keep: Keep) -> None:
    """Of an option that stands twice in a URL, the last holds."""
    engine = keep(create_engine(f"{url}?plugin={NAME}&pool_exporter_name=orders&pool_exporter_name=billing"))
    assert exporter.instrument(engine).name == "billing"


def test_wrong_options_leave_the_engine_watched(url: str, keep: Keep, caplog: pytest.LogCaptureFixture) -> None:
    """A registry that is none, and a name that is no text, are said and left out."""
    wrong = {"pool_exporter_registry": "mine", "pool_exporter_name": 7}
    engine = keep(create_engine(url, plugins=[NAME], **wrong))
    use(engine)
    assert exporter.instrument(engine).snapshot().checkouts == 1
    assert "pool_exporter_registry='mine' is left out: give a CollectorRegistry" in caplog.text
    assert "pool_exporter_name=7 is left out: give a text" in caplog.text


@pytest.mark.parametrize("seam", ["exporter.plugin.attach", "exporter.plugin._options"])
def test_an_error_of_ours_does_not_reach_create_engine(
    url: str, keep: Keep, monkeypatch: pytest.MonkeyPatch, seam: str
) -> None:
    """With the plugin raising, the application gets its engine, and the error is counted."""
    before = contained_errors().get("plugin", 0)
    monkeypatch.setattr(seam, None)
    use(keep(create_engine(url, plugins=[NAME], pool_exporter_name="orders")))
    assert contained_errors()["plugin"] == before + 1


def test_installed(tmp_path: Path) -> None:
    """The built wheel brings the plugin's name and the folder that `run` needs."""
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    installed = tmp_path / "installed"
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(installed)
    code = (
        "import exporter, sys, prometheus_client; from sqlalchemy import create_engine\n"
        "create_engine('sqlite:///shop.db', plugins=['pool_exporter']).connect().close()\n"
        "create_engine('sqlite:///shop.db?plugin=pool_exporter').connect().close()\n"
        "page = prometheus_client.generate_latest().decode()\n"
        """print(exporter.__file__, 'sqlalchemy_pool_checkouts_total{pool="sqlite:///shop.db"} 2.0' in page)"""
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**environment(tmp_path), "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(installed / "exporter" / "__init__.py"), "True"]
    assert (installed / "exporter" / "bootstrap" / "sitecustomize.py").is_file()
