"""What an application of the demonstration answers when its database or its pool has let it down."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError


def say_why(_request: Request, error: SQLAlchemyError) -> JSONResponse:
    """Answer 500 with the first line of what the driver or the pool complained about."""
    why = str(getattr(error, "orig", None) or error).splitlines()[0]
    return JSONResponse({"detail": why}, status_code=500)
