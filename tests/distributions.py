"""Distributions that tests install: built from a project, or no more than their metadata and a module."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

GROUP = "pool_exporter.servers"


def build(folder: Path, *, pyproject: str, module: str, source: str) -> Path:
    """Build a wheel of one module, and return a folder that it is installed in."""
    project, installed = folder / "project", folder / "installed"
    project.mkdir()
    (project / "pyproject.toml").write_text(pyproject)
    (project / f"{module}.py").write_text(source)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=project, check=True)
    (wheel,) = (project / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    return installed


def install(folder: Path, name: str, *, entry: str, source: str | None = None) -> None:
    """Put into ``folder`` what pip leaves there of a distribution 1.0 with one entry point, ``NAME = MODULE``."""
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{entry}\n")
    if source is not None:
        (folder / f"{entry.rpartition('= ')[2].partition(':')[0]}.py").write_text(source)
