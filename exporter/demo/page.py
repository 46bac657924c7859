"""The sidecar's page, read back as any Prometheus would read it."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from exporter.demo.client import ask


@dataclass(frozen=True)
class Page:
    """The samples of one scrape."""

    samples: tuple[Sample, ...] = ()

    def select(self, name: str, **labels: str) -> list[Sample]:
        """Return the samples of the metric ``name`` that have these labels."""
        return [each for each in self.samples if each.name == name and labels.items() <= each.labels.items()]

    def total(self, name: str, **labels: str) -> float | None:
        """Add up the samples of the metric ``name`` that have these labels; None when there are none."""
        found = self.select(name, **labels)
        return sum(sample.value for sample in found) if found else None

    def largest(self, name: str, **labels: str) -> float | None:
        """Return the largest sample of the metric ``name`` that has these labels; None when there are none."""
        return max((sample.value for sample in self.select(name, **labels)), default=None)


def read(sidecar: str) -> Page | None:
    """Scrape the sidecar at this address; None when it does not answer, and has its say the next time."""
    answer = ask(f"{sidecar}/metrics")
    return parse(answer.body) if answer.status == 200 else None


def parse(text: str) -> Page:
    """Read a page in the text format."""
    return Page(tuple(sample for family in text_string_to_metric_families(text) for sample in family.samples))
