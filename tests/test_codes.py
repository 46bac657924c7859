"""What drivers say of a dead connection, and the code that we read from it."""

from __future__ import annotations

from typing import Any

import psycopg
import pymysql
import pytest

from exporter.codes import stale_code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (pymysql.err.OperationalError(2006, "MySQL server has gone away"), "2006"),
        (pymysql.err.OperationalError(2013, "Lost connection"), "2013"),
        (pymysql.err.OperationalError(4031, "The client was disconnected because of inactivity"), "4031"),
        (pymysql.err.OperationalError(1927, "Connection was killed"), "1927"),
        (pymysql.err.OperationalError(1205, "Lock wait timeout exceeded"), "other"),
        (pymysql.err.InterfaceError("(0, '')"), "other"),
        (psycopg.errors.AdminShutdown("terminating connection"), "57P01"),
        (psycopg.errors.CrashShutdown("terminating connection"), "57P02"),
        (psycopg.errors.CannotConnectNow("starting up"), "57P03"),
        (psycopg.errors.IdleSessionTimeout("terminating connection"), "57P05"),
        (psycopg.errors.IdleInTransactionSessionTimeout("terminating connection"), "25P03"),
        (psycopg.errors.ConnectionFailure("lost"), "08006"),
        (psycopg.errors.UniqueViolation("duplicate"), "other"),
        (psycopg.OperationalError("server closed the connection unexpectedly"), "other"),
        (TimeoutError(110, "Connection timed out"), "other"),
        (OSError(), "other"),
        (None, "other"),
    ],
    ids=repr,
)
def test_the_code_of_an_error(error: BaseException | None, code: str) -> None:
    """The code is SQLSTATE or MySQL's number; what is not on the list is other."""
    assert stale_code(error) == code


@pytest.mark.parametrize(
    ("module", "make", "code"),
    [
        ("pg8000", lambda pg8000: pg8000.exceptions.DatabaseError({"C": "57P01", "M": "terminating"}), "57P01"),
        ("pg8000", lambda pg8000: pg8000.exceptions.InterfaceError("network error"), "other"),
        ("mysql.connector.errors", lambda errors: errors.OperationalError(errno=2055, values=("it", 32)), "2055"),
        ("mysql.connector.errors", lambda errors: errors.InterfaceError(errno=2013), "2013"),
        ("asyncmy.errors", lambda errors: errors.OperationalError(2013, "Lost connection"), "2013"),
        ("psycopg2", lambda psycopg2: psycopg2.OperationalError("server closed the connection"), "other"),
        ("asyncpg", lambda asyncpg: asyncpg.exceptions.ConnectionDoesNotExistError("closed"), "08003"),
        ("asyncpg", lambda asyncpg: asyncpg.exceptions.AdminShutdownError("terminating"), "57P01"),
    ],
)
def test_the_code_of_an_error_of_a_driver_that_may_be_there(module: str, make: Any, code: str) -> None:
    """The other drivers' own errors carry their codes elsewhere, or none."""
    assert stale_code(make(pytest.importorskip(module))) == code
