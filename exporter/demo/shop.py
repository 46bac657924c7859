"""The shop: a small application as anyone would write it, with the two troubles that the demonstration is about."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, create_engine, func, select

import exporter
from exporter.demo.complaints import say_why
from exporter.demo.models import Product, Purchase

app = FastAPI(title="shop")
app.exception_handler(SQLAlchemyError)(say_why)
engine = create_engine(os.environ["SHOP_DATABASE_URL"], pool_size=5, max_overflow=5, pool_timeout=2)
# The server ends this one's connections when they have slept for a few seconds, and nothing here expects it: neither
# pool_pre_ping nor pool_recycle is set.
reports = create_engine(os.environ["REPORTS_DATABASE_URL"], pool_size=3, max_overflow=0)

exporter.instrument(engine, name="shop")
exporter.instrument(reports, name="reports")

_carts: dict[int, Session] = {}


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
def turnover() -> int:
    """Add up all purchases, in cents."""
    with Session(reports) as session:
        total = session.exec(select(func.sum(Product.price)).where(Product.id == Purchase.product_id)).one()
        # A report is more work than this one; so that several at once take several connections.
        time.sleep(0.3)
    return int(total or 0)
