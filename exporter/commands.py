"""What our commands have in common: their help is an answer like every other."""

from __future__ import annotations

import sys
from typing import Any

import click

from exporter.stdout import writing


class Command(click.Command):
    """A command whose help, too, may go where nobody reads it or nothing can be written."""

    def make_context(self, *given: Any, **more: Any) -> click.Context:
        """Read the arguments; who asks for help, or for the version, is answered while that is done."""
        with writing():
            return super().make_context(*given, **more)
        sys.exit()  # that was the answer, and nobody has read it


class Commands(Command, click.Group):
    """A group of such commands."""

    command_class = Command
