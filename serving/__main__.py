"""`python -m serving`: see `serving.server.run`."""

import os
import signal
import sys
from types import FrameType


def _stop(number: int, frame: FrameType | None) -> None:
    """End at once: nobody has been answered yet, or everybody has."""
    os.write(2, f"stopped by {signal.Signals(number).name}\n".encode())
    os._exit(0)


# Before the imports, which take a second: within one, an interrupt would be an error of numpy, and the first process of
# a container would not hear SIGTERM at all.
for _number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(_number, _stop)

import logging  # noqa: E402

from serving.server.run import main  # noqa: E402

try:
    code = main()
except SystemExit as ended:
    code = int(ended.code or 0)
logging.shutdown()
sys.stdout.flush()
sys.stderr.flush()
# Python would end threads that are in C++, such as those that load a model; the process would abort.
os._exit(code)
