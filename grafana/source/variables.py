"""The variables at the top of each dashboard, the same on all three, so that a link takes the choice along."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard

from faces import DATASOURCE
from runbooks import DOCS

ANY = '{__name__=~"sqlalchemy_pool_info|sqlalchemy_server_up"'
"""An application has pools and no servers, a sidecar may have servers whose pools have not reported yet."""


def variables() -> list[dashboard.VariableModel]:
    """Return them in the order in which one depends on another."""
    return [
        _datasource(),
        _choice("job", f"label_values({ANY}}}, job)"),
        _choice("instance", f'label_values({ANY}, job=~"$job"}}, instance)'),
        _choice("pool", 'label_values(sqlalchemy_pool_info{job=~"$job", instance=~"$instance"}, pool)'),
        _choice("server", 'label_values(sqlalchemy_server_up{job=~"$job", instance=~"$instance"}, server)'),
        _docs(),
    ]


def _datasource() -> dashboard.VariableModel:
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.DATASOURCE,
        name="datasource",
        label="Data source",
        query="prometheus",
        refresh=dashboard.VariableRefresh.ON_DASHBOARD_LOAD,
        hide=dashboard.VariableHide.DONT_HIDE,
        regex="",
        options=[],
        auto=None,
        auto_min=None,
        auto_count=None,
    )


def _choice(name: str, query: str) -> dashboard.VariableModel:
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.QUERY,
        name=name,
        label=name.title(),
        datasource=DATASOURCE,
        definition=query,
        query={"query": query, "refId": "StandardVariableQuery"},
        current=dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]),
        multi=True,
        include_all=True,
        all_value=".+",
        refresh=dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=dashboard.VariableSort.ALPHABETICAL_ASC,
        hide=dashboard.VariableHide.DONT_HIDE,
        regex="",
        options=[],
        auto=None,
        auto_min=None,
        auto_count=None,
    )


def _docs() -> dashboard.VariableModel:
    """Return the hidden variable with the address of the runbooks. Nobody chooses it, so it keeps out of sight."""
    option = dashboard.VariableOption(selected=True, text=DOCS, value=DOCS)
    return dashboard.VariableModel(
        type_val=dashboard.VariableType.TEXTBOX,
        name="docs",
        label="Docs",
        description="Where docs/ of sqlalchemy-pool-exporter is kept; the links to runbooks begin with it.",
        query=DOCS,
        current=option,
        options=[option],
        hide=dashboard.VariableHide.HIDE_VARIABLE,
        auto=None,
        auto_min=None,
        auto_count=None,
    )
