"""What is noted of a request: its id, its times, its line in the log."""

import json
import logging
import sys

import pytest

from serving.server.exchange import Call, facts, make_exchange
from serving.server.log import JsonLines, TextLines

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("request_id", "traceparent", "expected"),
    [
        ("order-17", "", "order-17"),
        ("order-17", PARENT, "order-17"),
        ("", PARENT, TRACE),
        ("a b", PARENT, TRACE),
        ("x" * 129, PARENT, TRACE),
        ("a\nINFO forged", "", None),
        ("é", "", None),
        ("", PARENT.replace("00-", "ff-", 1), None),
        ("", PARENT.upper(), None),
        ("", f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        ("", f"00-{TRACE}-{'0' * 16}-01", None),
        ("", "rubbish", None),
        ("", "", None),
    ],
)
def test_a_valid_id_of_the_client_counts(request_id: str, traceparent: str, expected: str | None) -> None:
    exchange = make_exchange("POST", "/predict", "predict", request_id, traceparent)
    if expected is None:
        assert len(exchange.id) == 32 and int(exchange.id, 16) and exchange.id != make_exchange("", "", "").id
    else:
        assert exchange.id == expected
    assert exchange.traceparent == (traceparent if traceparent == PARENT else "")


def record(exchange: object, error: bool = False) -> logging.LogRecord:
    made = logging.LogRecord("serving.access", logging.INFO, "", 0, "%s 한글 \udc80", ("POST",), None)
    made.exchange = exchange  # type: ignore[attr-defined]
    if error:
        try:
            raise ValueError("bad\nline")
        except ValueError:
            made.exc_info = sys.exc_info()
    return made


def answered() -> object:
    exchange = make_exchange("POST", "/predict", "predict", "order-17", PARENT)
    for _ in range(2):
        exchange.add(Call("people", "3", 2, 0.001, 0.0025, 0.01, 0.0001, 1, False))
    exchange.status, exchange.seconds, exchange.reason = 200, 0.03, "deadline"
    exchange.add(Call("late", "1", 9, 1.0, 1.0, 1.0, 1.0, 1, False))
    return exchange


def test_a_line_of_json_has_the_facts_of_a_request() -> None:
    line = json.loads(JsonLines().format(record(answered())))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO", "logger": "serving.access", "message": "POST 한글 \udc80", "request_id": "order-17",
        "method": "POST", "path": "/predict", "status": 200, "ms": 30.0, "reason": "deadline", "trace_id": TRACE,
        "model": "people", "version": "3", "rows": 4, "queue_ms": 2.0, "input_ms": 5.0, "infer_ms": 20.0,
        "output_ms": 0.2,
    }  # fmt: skip


def test_a_traceback_is_one_line_of_json() -> None:
    text = JsonLines().format(record(None, error=True))
    assert "\n" not in text and "ValueError: bad\nline" in json.loads(text)["error"]


def test_a_line_of_text_ends_with_the_facts_that_it_has_not_said() -> None:
    text = TextLines().format(record(answered()))
    assert text.endswith(
        " request_id=order-17 reason=deadline trace_id=" + TRACE
        + " model=people version=3 rows=4 queue_ms=2.0 input_ms=5.0 infer_ms=20.0 output_ms=0.2"
    )  # fmt: skip
    assert TextLines().format(record(None)).endswith("INFO POST 한글 \udc80")


def test_a_request_without_a_model_has_no_times() -> None:
    assert set(facts(make_exchange("GET", "/v2", "other"))) == {"request_id", "method", "path", "status", "ms"}
