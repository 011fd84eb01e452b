"""Logging of the server: lines on standard error, warnings of one kind at most once a minute."""

import logging
import sys
import time

# Seconds between two warnings of one kind.
INTERVAL_S = 60.0


def set_up_logging(form: str = "text") -> None:
    """Log to standard error, as `text` or `json`; libraries only from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(OncePerInterval())
    logging.basicConfig(handlers=[handler], level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("uvicorn", "botocore", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


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
