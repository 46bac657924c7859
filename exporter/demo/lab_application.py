"""The lab's application: a small shop whose pool is set up as its environment says, with code good and bad."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI
from sqlalchemy import Engine, pool, text
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, create_engine, func, select

import exporter
from exporter.demo.complaints import say_why
from exporter.demo.models import Product, Purchase

SLEEP = {"postgresql": text("SELECT pg_sleep(:seconds)"), "mysql": text("SELECT SLEEP(:seconds)")}


def open_pool(name: str, options: str) -> Engine:
    """Make an engine with these options of create_engine, and have its pool watched under this name."""
    chosen = json.loads(options)
    if "poolclass" in chosen:
        chosen["poolclass"] = getattr(pool, chosen["poolclass"])
    made = create_engine(os.environ["SHOP_DATABASE_URL"], **chosen)
    exporter.instrument(made, name=name)
    return made


app = FastAPI(title="shop")
app.exception_handler(SQLAlchemyError)(say_why)
engine = open_pool("shop", os.environ["SHOP_POOL"])
archive = open_pool("archive", os.environ["ARCHIVE_POOL"]) if "ARCHIVE_POOL" in os.environ else None

_carts: dict[int, Session] = {}
_baskets: dict[int, Session] = {}


def open_session() -> Iterator[Session]:
    """Lend a Session to one request, and close it when the request is done."""
    with Session(engine) as session:
        yield session


Database = Annotated[Session, Depends(open_session)]


@app.get("/products")
def list_products(session: Database) -> list[str]:
    """List what there is to buy."""
    return [product.name for product in session.exec(select(Product)).all()]


@app.post("/purchases/{product_id}")
def buy(product_id: int, session: Database) -> int | None:
    """Buy one product."""
    purchase = Purchase(product_id=product_id)
    session.add(purchase)
    session.commit()
    return purchase.id


@app.post("/carts/{customer}")
def open_cart(customer: int) -> int:
    """Open a customer's cart: its Session is kept for later, and nobody ever closes it."""
    session = _carts[customer] = Session(engine)
    return len(session.exec(select(Product)).all())


@app.get("/reports/turnover")
def report_turnover(rendering: float = 0.3) -> int:
    """Add up all purchases, in cents, and keep the connection while the report is rendered."""
    with Session(engine) as session:
        total = session.exec(select(func.sum(Product.price)).where(Product.id == Purchase.product_id)).one()
        time.sleep(rendering)
    return int(total or 0)


@app.get("/reports/history")
def report_history(seconds: float, session: Database) -> None:
    """Run a statement that the database takes its time for."""
    session.connection().execute(SLEEP[engine.dialect.name], {"seconds": seconds})


@app.post("/orders/{product_id}")
def order(product_id: int, session: Database, *, supplier: float, commit_first: bool = False) -> None:
    """Order one product, which takes a supplier's answer: with or without the transaction open meanwhile."""
    product = session.get_one(Product, product_id)
    product.price += 1
    session.add(product)
    if commit_first:
        session.commit()
    else:
        session.flush()
    time.sleep(supplier)
    session.commit()


@app.post("/baskets/{customer}")
def fill_basket(customer: int) -> int:
    """Put something into a basket, whose Session lives on: the commit has given its connection back."""
    session = _baskets.setdefault(customer, Session(engine))
    session.add(Purchase(product_id=1))
    session.commit()
    return len(_baskets)


@app.get("/baskets")
def count_baskets() -> int:
    """Count the Sessions that are alive."""
    return len(_baskets)


@app.get("/archive")
def read_archive() -> int:
    """Count old purchases, by the engine that nobody has used before."""
    with Session(archive or engine) as session:
        return int(session.exec(select(func.count()).select_from(Purchase)).one())


@app.post("/helpers")
def start_helper(afterwards: BackgroundTasks) -> int:
    """Fork a helper, which inherits all open files of this worker: its connections, too. Then the worker is killed."""
    sessions = [Session(engine) for _ in range(3)]
    for session in sessions:
        session.exec(select(Product)).all()
    for session in sessions:
        session.close()
    helper = multiprocessing.get_context("fork").Process(target=signal.pause)
    helper.start()
    afterwards.add_task(kill_at_rest)
    return helper.pid or 0


def kill_at_rest() -> None:
    """Kill this worker as the kernel would, but between two requests: a transaction that stays is another trouble."""
    while engine.pool.checkedout():  # type: ignore[attr-defined]  # a queue has it
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)
