"""What KFP prints while it runs a pipeline on this machine, made readable: steps, their own words, the failure."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipelines.local.kfp_loops import ITEM, without_numbers

_COLOR = re.compile(r"\x1b\[\d+m")
_STAMP = re.compile(r"^\[KFP Executor [^\]]*\]: ")
_ROOT = re.compile(r"/\S*/\w[\w-]*-\d{4}(?:-\d\d){5}-\d+/")
"""KFP's folder of the run, which only makes messages long."""

_START = re.compile(r"^\d[\d:.]+ - INFO - Executing task '([^']+)'")
_END = re.compile(r"^\d[\d:.]+ - (?:INFO|ERROR) - Task '([^']+)' finished with status (SUCCESS|FAILURE)")
RUN_FAILED = "FAILED "
"""What `local_worker` says last of a run that failed; a step is open then if KFP has not said how it ended."""
_TRACEBACK = "Traceback (most recent call last):"
_CHATTER = (
    "Looking for component `",
    "Loading KFP component ",
    "Got executor_input:",
    "Wrote executor output file to ",
    "Found credentials in ",
    "Found endpoint for ",
)


@dataclass
class KfpLog:
    """Takes the lines one by one and gives those that are worth showing.

    `done` holds the seconds of every finished step, `failed` the step that failed (and was not run once more) and
    `error` its last words; `last` is the last line that says anything. A step in a loop is named with the item before
    it, as in `fold=2/predict`.
    """

    done: dict[str, float] = field(default_factory=dict)
    failed: str = ""
    error: str = ""
    last: str = ""
    _item: str = ""
    _step: str = ""
    _started: float = 0.0
    _braces: bool = False
    _traceback: list[str] = field(default_factory=list)

    def feed(self, line: str) -> Iterator[str]:
        """Takes one line, yields what to show for it: mostly nothing."""
        text = _COLOR.sub("", line.rstrip())
        self.last = text.strip() or self.last
        if text.startswith(ITEM.rstrip()):
            self._item = text.removeprefix(ITEM.rstrip()).strip()
        elif start := _START.match(text):
            self._step, self._started, self._traceback, self._braces = (
                self._named(start[1]),
                time.monotonic(),
                [],
                False,
            )
            if self.failed == self._step:
                self.failed = self.error = ""
                yield f"{self._step}  once more"
            else:
                yield self._step
        elif end := _END.match(text):
            seconds = time.monotonic() - self._started
            if end[2] == "SUCCESS":
                self.done[self._named(end[1])] = seconds
                yield f"  done in {seconds:.1f} s"
            else:
                self.failed, self.error = self._named(end[1]), self._last_words()
            self._step = ""
        elif self._step and text.startswith(RUN_FAILED):
            self.failed, self.error, self._step = self._step, self._last_words(), ""
        elif self._step and text.startswith("    "):
            yield from self._said(text[4:])

    def _named(self, step: str) -> str:
        return f"{self._item}/{step}" if self._item else step

    def _said(self, text: str) -> Iterator[str]:
        """A line of the step itself, without the description of its inputs, tracebacks and KFP's own chatter."""
        if self._braces or text == "{":
            self._braces = text != "}"
        elif self._traceback or text == _TRACEBACK:
            self._traceback.append(text)
        else:
            message = without_numbers(_ROOT.sub("", _STAMP.sub("", text)))
            if message.strip() and not message.startswith(_CHATTER):
                yield f"  {message}"

    def _last_words(self) -> str:
        """The exception at the end of the traceback, with the lines of its message."""
        if self._traceback:
            last = len(self._traceback) - self._traceback[::-1].index(_TRACEBACK)
            words = [text for text in self._traceback[last:] if text.strip() and not text.startswith(" ")]
            if words:
                kind, colon, message = words[0].partition(": ")
                return _ROOT.sub("", "\n".join([f"{kind.rpartition('.')[2]}{colon}{message}", *words[1:]]))
        return "it ended without an error message; it may have been killed for want of memory"
