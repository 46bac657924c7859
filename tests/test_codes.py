"""What drivers say of a dead connection, and the code that we read from it."""

from __future__ import annotations

import importlib
from typing import Any

import asyncpg
import psycopg
import pymysql
import pytest
from mysql.connector import errors as connector_errors

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
def test_the_code_of_an_error_of_another_driver(module: str, make: Any, code: str) -> None:
    """The other drivers' own errors carry their codes elsewhere, or none."""
    assert stale_code(make(importlib.import_module(module))) == code


def test_the_code_that_the_server_gave_goes_before_the_driver_s() -> None:
    """An error that the driver made of the server's word counts under the server's code."""
    error = asyncpg.exceptions.ConnectionDoesNotExistError("closed in the middle of operation")
    error.__cause__ = asyncpg.exceptions.IdleSessionTimeoutError("terminating connection")
    assert stale_code(error) == "57P05"


def test_a_code_is_found_behind_an_error_without_one() -> None:
    """mysql-connector's ping says nothing; what it was raised from does."""
    error = connector_errors.InterfaceError(errno=-1, msg="Connection to MySQL is not available")
    error.__cause__ = connector_errors.InterfaceError(errno=2013, msg="Lost connection")
    assert stale_code(error) == "2013"


def test_an_error_without_a_code_has_that_of_the_one_on_its_way() -> None:
    """Where a second error takes the first one's place, the user sees the second; its code counts."""

    def roll_back() -> None:
        raise connector_errors.OperationalError(errno=2055, msg="Broken pipe")

    try:
        roll_back()
    except connector_errors.OperationalError:
        assert stale_code(connector_errors.OperationalError(errno=-1, msg="not available")) == "2055"
        assert stale_code(None) == "other"


def test_errors_that_were_raised_from_one_another_come_to_an_end() -> None:
    """A circle of causes is gone through a few times, not for ever."""
    one, other = OSError("one"), OSError("other")
    one.__cause__, other.__cause__ = other, one
    assert stale_code(one) == "other"
