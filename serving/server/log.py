"""Logging of the server: lines on standard error as text or JSON, warnings of one kind at most once a minute."""

import datetime
import json
import logging
import sys
import time

from serving.server.exchange import Exchange, facts

# Seconds between two warnings of one kind.
INTERVAL_S = 60.0

# What a request's line in text has already said.
_SAID = {"method", "path", "status", "ms"}


def set_up_logging(form: str = "text") -> None:
    """Log to standard error, as `text` or `json`; libraries only from warnings on."""
    # No line says them, and each takes its time in every record.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(OncePerInterval())
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(handlers=[handler], level=logging.INFO)
    for name in ("uvicorn", "botocore", "asyncio", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.WARNING)


class TextLines(logging.Formatter):
    """Lines for people; that of a request ends with its model, times and id."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line without a traceback."""
        text = super().formatMessage(record)
        exchange: Exchange | None = getattr(record, "exchange", None)
        if exchange is None:
            return text
        return text + "".join(f" {name}={value}" for name, value in facts(exchange).items() if name not in _SAID)


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `message`, `error` (a traceback), a request's facts."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time_ = datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {"time": time_, "level": record.levelname, "logger": record.name}
        line["message"] = record.getMessage()
        exchange: Exchange | None = getattr(record, "exchange", None)
        if exchange is not None:
            line |= facts(exchange)
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class OncePerInterval(logging.Filter):
    """Lets one warning or error of a kind through in a minute; the next one says how many were left out.

    A kind is a logger, an unformatted message, and where its exception was raised.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[object, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is written."""
        if record.levelno < logging.WARNING:
            return True
        now = time.monotonic()
        kind = (record.name, record.msg, *_origin(record))
        last, left_out = self._kinds.get(kind, (float("-inf"), 0))
        if now - last < INTERVAL_S:
            self._kinds[kind] = (last, left_out + 1)
            return False
        # Messages that are formatted already are kinds without number.
        self._kinds = {key: value for key, value in self._kinds.items() if now - value[0] < INTERVAL_S}
        self._kinds[kind] = (now, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more like this)", None
        return True


def _origin(record: logging.LogRecord) -> tuple[object, ...]:
    if not isinstance(record.exc_info, tuple) or record.exc_info[1] is None:
        return ()
    kind, _, frame = record.exc_info
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return (kind, frame and (frame.tb_frame.f_code, frame.tb_lineno))
