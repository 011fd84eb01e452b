"""The log of a pipeline that KFP runs on this machine: progress of the steps, their output, the error of a failed one.

KFP logs the start and end of a task as sentences for people, so the process in which it runs prints events of our own
(`report_steps`). Everything that a step prints is indented by four spaces (`kfp.local.logging_utils.indented_print`).
"""

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipelines.local.kfp_loops import ITEM, without_numbers

STARTED, SUCCEEDED, FAILED = "STARTED", "SUCCEEDED", "FAILED"
"""An event is a line of one of these and the name of a step, or of ITEM and the name of a loop's item."""

_INDENT = " " * 4
_COLOR = re.compile(r"\x1b\[\d+m")
_STAMP = re.compile(r"^\[KFP Executor [^\]]*\]: ")
_ROOT = r"/\w[\w-]*-\d{4}(?:-\d\d){5}-\d+/"
"""KFP's folder of a run below its root. It only makes messages long."""
_TRACEBACK = "Traceback (most recent call last):"
_EXECUTOR_MESSAGES = (
    "Looking for component `",
    "Loading KFP component ",
    "Got executor_input:",
    "Wrote executor output file to ",
    "Found credentials in ",
    "Found endpoint for ",
)


def report_steps() -> None:
    """Makes KFP print events around every attempt of a step in this process.

    Wraps `kfp.local.task_dispatcher.run_single_task_implementation` (2.17), which reports the status of a task only in
    its log; that log, whose lists of outputs look like a step's own output, is off below warnings. This can go when KFP
    has a callback for the start and end of a task.
    """
    from kfp.local import executor_input_utils, status, task_dispatcher

    logging.disable(logging.INFO)
    run = task_dispatcher.run_single_task_implementation

    def reported(*, component_name: str, **arguments: Any) -> Any:
        step, result = executor_input_utils.get_local_task_resource_name(component_name), None
        print(f"{STARTED} {step}", flush=True)
        try:
            result = run(component_name=component_name, **arguments)
            return result
        finally:
            succeeded = result is not None and result[1] == status.Status.SUCCESS
            print(f"{SUCCEEDED if succeeded else FAILED} {step}", flush=True)

    task_dispatcher.run_single_task_implementation = reported


@dataclass
class KfpLog:
    """Reads the log line by line and returns the lines to show, without the paths below KFP's `root`.

    `done` holds the seconds of every finished step, `failed` the step that failed (and was not retried) and `error` its
    exception; `last` is the last line with a text. A step in a loop is named with its item, as in `fold=2/predict`.
    """

    root: str = ""
    done: dict[str, float] = field(default_factory=dict)
    failed: str = ""
    error: str = ""
    last: str = ""
    _item: str = ""
    _started: float = 0.0
    _in_json: bool = False
    _traceback: list[str] = field(default_factory=list)

    def _short(self, text: str) -> str:
        return re.sub(rf"(?:{re.escape(self.root) or '(?!)'}|/\S*){_ROOT}", "", text)

    def feed(self, line: str) -> Iterator[str]:
        """Reads one line and yields the lines to show, mostly none."""
        text = _COLOR.sub("", line.rstrip())
        self.last = text.strip() or self.last
        if text.startswith(_INDENT):
            yield from self._output(text.removeprefix(_INDENT))
            return
        event, _, name = text.partition(" ")
        step = f"{self._item}/{name}" if self._item else name
        if event == ITEM:
            self._item = name
        elif event == STARTED:
            self._started, self._traceback, self._in_json = time.monotonic(), [], False
            yield f"{step}  once more" if self.failed == step else step
            if self.failed == step:
                self.failed = self.error = ""
        elif event == SUCCEEDED:
            self.done[step] = time.monotonic() - self._started
            yield f"  done in {self.done[step]:.1f} s"
        elif event == FAILED:
            self.failed, self.error = step, self._exception()

    def _output(self, text: str) -> Iterator[str]:
        """A line of the step itself, without the JSON of its inputs, tracebacks and messages of KFP's executor."""
        if self._in_json or text == "{":
            self._in_json = text != "}"
        elif self._traceback or text == _TRACEBACK:
            self._traceback.append(text)
        else:
            message = without_numbers(self._short(_STAMP.sub("", text)))
            if message.strip() and not message.startswith(_EXECUTOR_MESSAGES):
                yield f"  {message}"

    def _exception(self) -> str:
        """The exception at the end of the traceback, with all lines of its message."""
        if self._traceback:
            last = len(self._traceback) - self._traceback[::-1].index(_TRACEBACK)
            lines = [text for text in self._traceback[last:] if text.strip() and not text.startswith(" ")]
            if lines:
                kind, colon, message = lines[0].partition(": ")
                return self._short("\n".join([f"{kind.rpartition('.')[2]}{colon}{message}", *lines[1:]]))
        return "it ended without an error message; it may have run out of memory"
