"""The alerts that fire: as marks on every graph, and as a query for a table."""

from __future__ import annotations

from grafana_foundation_sdk.models import common, dashboard

from faces import DATASOURCE

NAMES = "Sqlalchemy.*"


def firing() -> str:
    """Select the alerts that fire; one of a server has no pool, and the other way round."""
    return (
        f'ALERTS{{job=~"$job", instance=~"$instance", pool=~"$pool|", server=~"$server|",'
        f' alertname=~"{NAMES}", alertstate="firing"}}'
    )


def marks() -> list[dashboard.AnnotationQuery]:
    """Return Grafana's own annotations, and the alerts as Prometheus remembers them."""
    return [_built_in(), _alerts()]


def _built_in() -> dashboard.AnnotationQuery:
    return dashboard.AnnotationQuery(
        name="Annotations & Alerts",
        datasource=common.DataSourceRef(type_val="grafana", uid="-- Grafana --"),
        built_in=1,
        hide=True,
        icon_color="rgba(0, 211, 255, 1)",
        type_val="dashboard",
    )


def _alerts() -> dashboard.AnnotationQuery:
    return dashboard.AnnotationQuery(
        name="Alerts",
        datasource=DATASOURCE,
        icon_color="red",
        expr=firing(),
        step="30s",
        title_format="{{alertname}}",
        text_format="{{pool}} {{server}}",
        tag_keys="severity",
        use_value_for_time=False,
        built_in=None,
    )
