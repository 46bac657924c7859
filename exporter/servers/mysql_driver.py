"""PyMySQL's connection, which believes whatever a server sends: bounded in memory, and in what it does for a server."""

from __future__ import annotations

from typing import Any, ClassVar

from pymysql.connections import Connection
from pymysql.protocol import MysqlPacket

from exporter.servers.family import SampleError
from exporter.servers.sense import TODO, too_much
from exporter.servers.wire import MOST_BYTES

# Bytes that reading takes besides what was sent: a packet is read in two pieces, and a row is a packet.
_OF_A_PIECE = 64
_OF_A_COLUMN = 8192  # no answer of a real server has more than 4096


_Connection: Any = Connection  # what is overridden is nothing that it promises: the tests hold that it is called


class Bounded(_Connection):  # type: ignore[misc]
    """A connection that ends with SampleError where the answer to one statement takes more memory than MOST_BYTES."""

    most: ClassVar[int] = MOST_BYTES

    def __init__(self, **options: Any) -> None:
        self._left = self.most
        super().__init__(**options)

    def _execute_command(self, command: int, sql: str | bytes) -> None:
        self._left = self.most
        super()._execute_command(command, sql)

    def _read_packet(self, packet_type: Any = MysqlPacket) -> Any:
        if packet_type is not MysqlPacket:
            self._take(_OF_A_COLUMN)
        return super()._read_packet(packet_type)

    def _read_bytes(self, num_bytes: int) -> Any:
        self._take(num_bytes + _OF_A_PIECE)
        return super()._read_bytes(num_bytes)

    def _read_query_result(self, unbuffered: bool = False) -> Any:  # noqa: FBT001, FBT002  PyMySQL calls it so
        try:
            return super()._read_query_result(unbuffered)
        except RuntimeError as error:
            self._force_close()
            said = "the server asks for a file of this machine (LOAD DATA LOCAL), which it does not get"
            raise SampleError("query", f"{said}; {TODO}") from error

    def _take(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            self._force_close()
            raise too_much()
