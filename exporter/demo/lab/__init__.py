"""The lab: one trouble at a time, brought about on a real server by a real application, and then cured."""

from __future__ import annotations

from exporter.demo.lab.performance import Performance, performing, preparing

__all__ = ["Performance", "performing", "preparing"]
