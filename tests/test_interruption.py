"""Signals that are remembered: none is missed, and none stops what they interrupt."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from exporter.demo.interruption import CutShortError, Interruption, remembering


def test_a_signal_is_remembered_once_and_for_all() -> None:
    """The first signal ends every wait from then on, and its number is kept."""
    with remembering() as interruption:
        assert not interruption.wait(0)
        interruption.check()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption.wait(10)
        assert interruption.wait(10)
        assert interruption.signal == signal.SIGTERM
        with pytest.raises(CutShortError):
            interruption.check()


def test_a_storm_of_signals_stops_nobody() -> None:
    """Handlers run between any two steps of a wait, also inside one another, and the wait goes on."""
    interruption = Interruption()
    before = signal.signal(signal.SIGUSR1, interruption.remember)

    def storm() -> None:
        for _ in range(3000):
            os.kill(os.getpid(), signal.SIGUSR1)

    storming = threading.Thread(target=storm)
    storming.start()
    try:
        while storming.is_alive():
            interruption.wait(0.001)
    finally:
        storming.join()
        signal.signal(signal.SIGUSR1, before)
        interruption.close()
