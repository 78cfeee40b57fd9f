from __future__ import annotations

import os
import signal
import threading

import pytest

from paa.runtime.interrupt import interrupt_as_end


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_ctrl_c_is_told_and_the_second_raises() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), interrupt_as_end() as ended:  # noqa: PT012
        assert not ended()
        press()
        assert ended()
        press()
    assert signal.getsignal(signal.SIGINT) is before


def test_afterwards_ctrl_c_is_as_before() -> None:
    with interrupt_as_end() as ended:
        assert not ended()
    with pytest.raises(KeyboardInterrupt):
        press()


def test_in_another_thread_nothing_changes() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def use() -> None:
        with interrupt_as_end() as ended:
            seen.append((signal.getsignal(signal.SIGINT) is before, ended()))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [(True, False)]
