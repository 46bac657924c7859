"""The peers of `scripts/bench sampling`: which are there, and how each is asked for sessions and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sampling_exporters import Launch
from sampling_servers import Server
from sqlalchemy.engine import URL

from exporter.demo.programs import LaunchError
from newest import MYSQL

# What mysqld_exporter does besides the process list when it is not told otherwise.
_OTHERWISE = ("global_status", "global_variables", "slave_status", *(
    f"info_schema.{name}" for name in ("innodb_cmp", "innodb_cmpmem", "query_response_time")
))  # fmt: skip
_BOUNDS = "2, 6, 16, 31, 61, 121, 301, 601, 1801, 3601, 14401, 28801"
_LABELS = ("username", "dbname", "client", "state", "bucket")
_VALUES = ("sessions", "slept", "longest")

# query-exporter is configured with the question that is ours: grouped, with a histogram and the longest.
_BY_SOURCE = {
    "threads": f"""
        SELECT processlist_user AS username, COALESCE(processlist_db, '') AS dbname, processlist_host AS client,
            processlist_command AS state, INTERVAL(processlist_time, {_BOUNDS}) AS bucket, COUNT(*) AS sessions,
            SUM(processlist_time) AS slept, MAX(processlist_time) AS longest
        FROM performance_schema.threads WHERE type = 'FOREGROUND' AND processlist_user IS NOT NULL
        GROUP BY username, dbname, client, state, bucket""",  # noqa: S608  of constants
    "processlist": f"""
        SELECT user AS username, COALESCE(db, '') AS dbname, SUBSTRING_INDEX(host, ':', 1) AS client, command AS state,
            INTERVAL(time, {_BOUNDS}) AS bucket, COUNT(*) AS sessions, SUM(time) AS slept, MAX(time) AS longest
        FROM information_schema.processlist GROUP BY username, dbname, client, state, bucket""",  # noqa: S608  of constants
    "activity": """
        SELECT COALESCE(usename, '') AS username, COALESCE(datname, '') AS dbname, application_name AS client,
            COALESCE(state, '') AS state, width_bucket(extract(epoch FROM now() - state_change),
            ARRAY[1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 28800]) AS bucket, count(*) AS sessions,
            CAST(sum(extract(epoch FROM now() - state_change)) AS float) AS slept,
            CAST(max(extract(epoch FROM now() - state_change)) AS float) AS longest
        FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1, 2, 3, 4, 5""",
}


def peers(server: Server, folder: Path, *, query_exporter: str | None) -> Iterator[Launch]:
    """Tell how the peers for this server are started, those that are there; say which are not."""
    program, make = ("postgres", _postgres_exporter) if server.is_postgresql else ("mysqld", _mysqld_exporter)
    for number, command in enumerate(_installed(f"prometheus-{program}-exporter")):
        yield make(server.sampler, command, folder / f"queries-{number}.yaml")
    if query_exporter is None or not Path(query_exporter).exists():
        _say_missing("query-exporter")
    else:
        yield _query_exporter(server, query_exporter)


def floor(page: Path) -> Launch:
    """Tell how prometheus_client's own server is started, with as many series as ``page``: it asks no database."""
    command = [sys.executable, str(Path(__file__).with_name("soak_peer.py")), str(page), "{port}"]
    return Launch("start_http_server", command)


def _installed(program: str) -> Iterator[list[str]]:
    """Give the command of this Debian's own and of the newest, which scripts/newest-servers has unpacked."""
    own = shutil.which(program)
    if own is None:
        _say_missing(f"this Debian's {program}")
    else:
        yield [own]
    newest = MYSQL.root / "usr/bin" / program
    loader = next(iter(MYSQL.root.glob("lib*/ld-linux-*.so.*")), None)
    if not newest.exists() or loader is None:
        _say_missing(f"the newest {program}, in {MYSQL.root} from scripts/newest-servers")
    else:
        # With its own loader and libraries, it needs no chroot.
        libraries = ":".join(map(str, MYSQL.root.glob("usr/lib/*-linux-gnu")))
        yield [str(loader), "--library-path", libraries, str(newest)]


def _say_missing(what: str) -> None:
    print(f"NOT MEASURED: {what} is not on this machine", file=sys.stderr)


def _version(command: Sequence[str]) -> str:
    found = re.search(r"\d+\.\d+(\.\d+)*", _output(command, "--version"))
    return found[0] if found else "?"


def _output(command: Sequence[str], option: str) -> str:
    done = subprocess.run([*command, option], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def _mysqld_exporter(url: URL, command: Sequence[str], _file: Path) -> Launch:
    options = ["--collect.info_schema.processlist", *(f"--no-collect.{name}" for name in _OTHERWISE)]
    place, user, password = f"{url.host}:{url.port}", str(url.username), str(url.password)
    environment = {"DATA_SOURCE_NAME": f"{user}:{password}@({place})/"}
    if "--mysqld.address" in _output(command, "--help"):
        options += [f"--mysqld.address={place}", f"--mysqld.username={user}"]
        environment = {"MYSQLD_EXPORTER_PASSWORD": password}
    name = f"mysqld_exporter {_version(command)}"
    return Launch(name, [*command, "--web.listen-address={address}", *options], environment)


def _postgres_exporter(url: URL, command: Sequence[str], file: Path) -> Launch:
    file.write_text(_activity_of(_output(command, "--dumpmaps")))
    # Its built-in maps are shown all or none: so none, and the one of sessions is given back in its own words.
    options = ["--disable-default-metrics", "--disable-settings-metrics", f"--extend.query-path={file}"]
    usual = re.findall(r"--collector\.(\w+)\s[^-]*?\(default:\s+enabled\)", _output(command, "--help"))
    options += [f"--no-collector.{name}" for name in usual]
    target = f"postgresql://{url.username}:{url.password}@{url.host}:{url.port}/postgres?sslmode=disable"
    name = f"postgres_exporter {_version(command)}"
    return Launch(name, [*command, "--web.listen-address={address}", *options], {"DATA_SOURCE_NAME": target})


def _activity_of(maps: str) -> str:
    """Return the map of pg_stat_activity as a file of queries; the first of its texts is that for today's servers."""
    first = re.search(r"^pg_stat_activity 0x\w+ *\n(.*?)\n\s*\n", maps, re.MULTILINE | re.DOTALL)
    last = [found.end() for found in re.finditer(r"^pg_stat_activity 0x\w+ *\n", maps, re.MULTILINE)][-1:]
    if first is None or not last:
        raise LaunchError("postgres_exporter --dumpmaps shows no pg_stat_activity")
    columns = re.search(r"(?:^  \w+ +\{\d .*\n)+", maps[last[0] :], re.MULTILINE)
    found = re.findall(r"^  (\w+) +\{(\d)", columns[0] if columns else "", re.MULTILINE)
    usages = {"1": "LABEL", "2": "COUNTER", "3": "GAUGE"}
    metrics = [{name: {"usage": usages.get(usage, "DISCARD"), "description": name}} for name, usage in found]
    return json.dumps({"pg_stat_activity": {"query": first[1].strip(), "metrics": metrics}})


def _query_exporter(server: Server, program: str) -> Launch:
    source = "activity" if server.is_postgresql else "threads" if server.kind.schema else "processlist"
    target = server.sampler.set(database="postgres") if server.is_postgresql else server.sampler
    settings = {
        "databases": {"server": {"dsn": target.render_as_string(hide_password=False)}},
        "metrics": {name: {"type": "gauge", "labels": list(_LABELS), "description": name} for name in _VALUES},
        "queries": {"sessions": {"databases": ["server"], "metrics": list(_VALUES), "sql": _BY_SOURCE[source]}},
    }
    command = [program, "--host={host}", "--port={port}", "--log-level=error", "--config=config.yaml"]
    return Launch(f"query-exporter {_version([program])}", command, config=json.dumps(settings))
