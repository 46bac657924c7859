"""What to say when a library is missing that comes with an extra only. Standard library only."""

from __future__ import annotations


def missing_library(error: ModuleNotFoundError, extra: str) -> str:
    """Say which extra brings the library; raise the error again when it is a module of ours that is missing."""
    library = (error.name or "exporter").partition(".")[0]
    if library == "exporter":
        raise error
    return (
        f"pool-exporter: the library {library} is not installed; run: pip install 'sqlalchemy-pool-exporter[{extra}]'"
    )
