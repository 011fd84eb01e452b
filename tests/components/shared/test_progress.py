import io
import logging

import pytest

from components.shared import progress as module
from components.shared.progress import progress


def test_off_a_terminal_it_logs_now_and_then(caplog, monkeypatch):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO):
        assert list(progress(range(10), "copy")) == list(range(10))
    assert caplog.messages[0] == "copy: 3/10, 0.5/s"
    assert len(caplog.messages) == 4
    assert caplog.messages[-1].startswith("copy: 10 done in")


def test_short_work_says_nothing(caplog):
    with caplog.at_level(logging.INFO):
        assert list(progress(iter("abc"), "copy")) == ["a", "b", "c"]
    assert not caplog.messages


def test_on_a_terminal_it_is_a_bar(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(module.sys, "stderr", terminal)
    assert list(progress(iter(range(3)), "copy", total=3)) == [0, 1, 2]
    assert "copy" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()


def test_errors_pass_through():
    def items():
        yield 1
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        list(progress(items(), "copy"))
