"""A small application, run as a program of its own: does to its pool what standard input says, line by line."""

from __future__ import annotations

import os
import sys

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

import exporter


def main() -> None:
    """Fill the pool, forget a Session, or use a connection; answer with one line each."""
    engine = create_engine(os.environ["APPLICATION_URL"], pool_size=5, max_overflow=5)
    exporter.instrument(engine, name="orders", leak_after=float(sys.argv[1]))
    forgotten = []
    for line in sys.stdin:
        if line == "fill\n":
            connections = [engine.connect() for _ in range(5)]
            for connection in connections:
                connection.close()
            answer = "filled"
        elif line == "forget\n":
            session = Session(engine)
            session.execute(text("select 1"))
            forgotten.append(session)
            answer = "forgotten"
        else:
            answer = _used(engine)
        print(answer, flush=True)


def _used(engine: Engine) -> str:
    try:
        with engine.connect() as connection:
            connection.execute(text("select 1"))
    except DBAPIError as error:
        return type(error.orig).__name__
    return "used"


main()
