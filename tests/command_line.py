"""The command `facet` in this process."""

import contextlib
import io
import os
import sys
from dataclasses import dataclass
from unittest import mock

import pytest

from pipelines.command.main import main


@dataclass
class Answer:
    returncode: int
    stdout: str
    stderr: str


def facet(*arguments: object, tracking_uri: str = "") -> Answer:
    """The command line, in this process, whose environment stays as it was."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ),
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as end,
    ):
        patch.setattr(sys, "argv", ["facet", *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        patch.setenv("MLFLOW_TRACKING_URI", tracking_uri)
        main()
    return Answer(int(end.value.code or 0), out.getvalue(), err.getvalue())
