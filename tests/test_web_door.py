"""The door, in the moments that no request can be timed to meet."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from exporter.web_keeper import Keeper
from exporter.web_listener import Listener


def test_who_comes_when_the_door_closes_is_no_error() -> None:
    """Someone connects between two turns of the loop, and the first thing done in the next is to close."""
    complaints: list[dict[str, Any]] = []

    async def app(_scope: object, _receive: object, _send: object) -> None:
        """Answer nothing."""

    async def close_in_a_visitors_face(listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        config = uvicorn.Config(app, log_config=None, lifespan="off")
        config.load()
        door = Listener(listening, Keeper(None), config=config, state=ServerState())
        door.start()
        await asyncio.sleep(0.01)  # now it waits
        with socket.create_connection(listening.getsockname()):
            # The loop finds the visitor before it goes on here, and would see to it after that.
            await asyncio.sleep(0)
            door.close()
            await door.wait_closed()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        asyncio.run(close_in_a_visitors_face(listening))
    assert complaints == []
