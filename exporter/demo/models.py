"""What the shop keeps: its tables, and what stands in them when it opens."""

from __future__ import annotations

from sqlalchemy.engine import Engine
from sqlmodel import Field, Session, SQLModel

_RANGE = {"bread": 320, "cheese": 540, "coffee": 890, "honey": 650, "soap": 280, "tea": 410}


class Product(SQLModel, table=True):
    """Something to buy; the price is in cents."""

    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(max_length=80)
    price: int


class Purchase(SQLModel, table=True):
    """One product bought once."""

    id: int | None = Field(default=None, primary_key=True)
    product_id: int = Field(foreign_key="product.id")


def stock(engine: Engine) -> None:
    """Make the tables and put a few products and purchases into them."""
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        products = [Product(name=name, price=price) for name, price in _RANGE.items()]
        session.add_all(products)
        session.flush()
        session.add_all(Purchase(product_id=product.id or 0) for product in products)
        session.commit()
