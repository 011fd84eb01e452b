"""The process in which KFP runs the pipeline on this machine; `local_run` starts it in a group of its own.

Called with the folder of the run; reads the pipeline's arguments, one line of JSON, from standard input. When that
input ends the parent is gone, and this process takes its whole group, the running step included, with it.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
import warnings


def _follow_parent() -> None:
    sys.stdin.read()
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _run(folder: str) -> int:
    # A shell may have started us with SIGINT ignored; the steps inherit what is set here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("ignore")
    from kfp import components, local

    from pipelines.intermediate import compile_pipeline, local_view

    pipeline = components.load_component_from_text(local_view(compile_pipeline()))
    line = sys.stdin.readline()
    if not line:
        return 1
    threading.Thread(target=_follow_parent, daemon=True).start()
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=folder)
    try:
        pipeline(**json.loads(line))
    except RuntimeError as error:
        print(f"FAILED {error}", flush=True)
        return 1
    return 0


def _wait_for_steps(seconds: float = 5.0) -> None:
    """Lets an interrupted step end by itself: a training marks its MLflow run as killed."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0] or time.monotonic() < deadline:
            time.sleep(0.05)


if __name__ == "__main__":
    # Not `sys.exit`: the thread above waits in a read that would hold up the end of the interpreter.
    try:
        code = _run(sys.argv[1])
    except KeyboardInterrupt:
        _wait_for_steps()
        code = 130
    sys.stdout.flush()
    os._exit(code)
