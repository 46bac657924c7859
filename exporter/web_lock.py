"""The lock of the page: who may see it. A login that was good is remembered, as a hash that only this process can make.

bcrypt is slow on purpose. So it runs in one thread of its own, and each address waits in a line of its own: whoever
tries many passwords waits for himself, and delays another's first login by one check at the most. Where a line is full,
a newcomer takes the place of any of those in it, who learns it late: else those who try again at once would keep all
places, and nobody else of that address came in.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import os
import secrets
from collections import OrderedDict, deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import bcrypt

_REMEMBERED = 1000
_LONGEST_LINE = 4  # logins of one address that wait; the same one twice waits once
_MOST_WAITING = 64
_LONGEST_PASSWORD = 72  # bytes; what is beyond has no meaning in bcrypt, and this library refuses it


REFUSAL_SECONDS = 1.0
"""How long whoever must give up his place waits for that answer."""


class BusyError(Exception):
    """Too many logins wait already, or none can be checked for a moment."""


@dataclass(frozen=True)
class _Login:
    key: bytes
    password: bytes
    hashed: bytes
    is_users: bool


@dataclass(frozen=True)
class _Try:
    login: _Login
    result: asyncio.Future[bool | None]  # None where it is not checked


class Lock:
    """Checks names and passwords. To be used from one event loop, which it never blocks."""

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._pending: dict[bytes, _Try] = {}
        self._lines: OrderedDict[str, deque[_Try]] = OrderedDict()
        self._worker: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pool-exporter-login")

    async def admits(self, authorization: str | None, users: Mapping[str, bytes], *, address: str) -> bool:
        """Tell whether a header names a user with the password; raise BusyError when this address tries too many."""
        login = self._read(authorization, users)
        if login is None:
            return False
        if self._remembers(login):
            self._good.move_to_end(login.key)
            return True
        good = await self._checked(login, address)
        if not good or not login.is_users:
            return False
        self._good[login.key] = None
        while len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)
        return True

    def knows(self, authorization: str | None, users: Mapping[str, bytes]) -> bool:
        """Tell whether a header holds a login that was good before, and still is."""
        login = self._read(authorization, users)
        return login is not None and self._remembers(login)

    def close(self) -> None:
        """Check nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self, authorization: str | None, users: Mapping[str, bytes]) -> _Login | None:
        said = _basic(authorization)
        if said is None:
            return None
        user, password = said
        hashed = users.get(user)
        # A name that nobody has costs what a wrong password does, and always the same.
        against = self._decoy(user, users) if hashed is None else hashed
        key = self._hash(user.encode(), against, password)
        return _Login(key, password, against, is_users=hashed is not None)

    def _remembers(self, login: _Login) -> bool:
        return login.is_users and login.key in self._good

    def _decoy(self, user: str, users: Mapping[str, bytes]) -> bytes:
        number = int.from_bytes(self._hash(user.encode())[:8], "big")
        return sorted(users.values())[number % len(users)]

    def _hash(self, *parts: bytes) -> bytes:
        made = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in parts:
            made.update(len(part).to_bytes(8, "big") + part)
        return made.digest()

    async def _checked(self, login: _Login, address: str) -> bool:
        attempt = self._pending.get(login.key)
        if attempt is None:
            line = self._lines.setdefault(address, deque())
            if len(line) >= _LONGEST_LINE:
                self._turn_away(line)
            elif len(self._pending) >= _MOST_WAITING:
                self._turn_away(max(self._lines.values(), key=len))
            loop = asyncio.get_running_loop()
            attempt = self._pending[login.key] = _Try(login, loop.create_future())
            line.append(attempt)
            if self._worker is None:
                self._worker = loop.create_task(self._work())
        good = await asyncio.shield(attempt.result)
        if good is None:
            await asyncio.sleep(REFUSAL_SECONDS)
            raise BusyError
        return good

    def _turn_away(self, line: deque[_Try]) -> None:
        attempt = line[secrets.randbelow(len(line))]
        line.remove(attempt)
        del self._pending[attempt.login.key]
        attempt.result.set_result(None)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._lines:
                address, line = self._lines.popitem(last=False)
                if not line:  # its last one was turned away
                    continue
                attempt = line.popleft()
                login = attempt.login
                if line:
                    self._lines[address] = line  # behind all others
                try:
                    good = await loop.run_in_executor(self._thread, _matches, login.password, login.hashed)
                    attempt.result.set_result(good)
                except Exception:  # no thread or no memory for a moment: whoever waits is told to come again
                    attempt.result.set_result(None)
                finally:
                    del self._pending[login.key]
        finally:
            self._worker = None


def _basic(authorization: str | None) -> tuple[str, bytes] | None:
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, ValueError):
        return None


def _matches(password: bytes, hashed: bytes) -> bool:
    try:
        return bcrypt.checkpw(password[:_LONGEST_PASSWORD], hashed)
    except ValueError:
        return False
