"""The log of a local run: the lines to show, and the exception of a failed step."""

import pytest

from pipelines.local.kfp_log import KfpLog

START = "STARTED train"
OK = "SUCCEEDED train"
FAILED = "FAILED train"
SAYS = "    [KFP Executor 2026-11-21 01:57:04,266 INFO]: "
TRACEBACK = ["    Traceback (most recent call last):", '      File "a.py", line 1, in f', "        f()", "        ^^^"]


def feed(*lines: str) -> tuple[KfpLog, list[str]]:
    log = KfpLog()
    return log, [text for line in lines for text in log.feed(line + "\n")]


def test_a_step_that_succeeds() -> None:
    log, shown = feed(
        START,
        "10:00:00.000 - WARNING - something in \x1b[96m'train'\x1b[0m",
        "",
        SAYS + "Looking for component `train` in --component_module_path `/tmp/x.py`",
        SAYS + "Got executor_input:",
        "    {",
        '        "inputs": {}',
        "    }",
        SAYS + "epoch 1 loss 0.5",
        "    a plain line",
        SAYS + "/data/runs/a.b/classification-2026-11-21-01-57-03-953807/split/annotations: 3 images",
        SAYS + "Wrote executor output file to /tmp/executor_output.json.",
        "    ",
        "-" * 80,
        OK,
    )
    assert shown[:-1] == ["train", "  epoch 1 loss 0.5", "  a plain line", "  split/annotations: 3 images"]
    assert shown[-1].startswith("  done in ")
    assert list(log.done) == ["train"]
    assert (log.failed, log.error) == ("", "")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["serving.runtime.errors.InputError: no such file: say which"], "InputError: no such file: say which"),
        (["ValueError: first", "second: line", "", "  indented"], "ValueError: first\nsecond: line"),
        (["KeyError"], "KeyError"),
        (
            ["ValueError: inner", "", "During handling ...", "", *[t[4:] for t in TRACEBACK], "OSError: outer"],
            "OSError: outer",
        ),
        ([], "it ended without an error message; it may have run out of memory"),
    ],
)
def test_the_exception_of_a_step(words: list[str], error: str) -> None:
    log, shown = feed(START, SAYS + "epoch 1", *TRACEBACK, *[f"    {word}" for word in words], "    ", FAILED)
    assert shown == ["train", "  epoch 1"]
    assert (log.failed, log.error, log.done) == ("train", error, {})


def test_a_killed_step_has_no_message() -> None:
    log, _ = feed(START, FAILED)
    assert log.error.startswith("it ended without an error message")


@pytest.mark.parametrize("root", ["/home/a/.facet/runs/faces", '/tmp/it\'s a "home" 한글/runs/faces'])
def test_paths_below_the_root_are_short(root: str) -> None:
    report = f"{root}/classification-2026-11-21-01-57-04-266/data-report/report"
    assert list(KfpLog(root).feed(f"{SAYS}{report}: 840 images\n")) == ["  data-report/report: 840 images"]
