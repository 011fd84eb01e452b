"""The process in which KFP runs a pipeline on this machine; `local_run` starts it in a group of its own.

Called with the pipeline's name, the folder of the run and the runner, `subprocess` or `docker`; reads the pipeline's
arguments, one line of JSON, from standard input. When that input ends the parent is gone, and this process takes its
whole group, the running step included, with it.
"""

import contextlib
import json
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import NoReturn

from pipelines.local.kfp_docker import Containers, StepFailedError, remove_containers, run_options
from pipelines.local.kfp_log import RUN_FAILED


def _follow_parent(folder: Path, runner: str) -> None:
    sys.stdin.read()
    try:
        if runner == "docker":
            remove_containers(folder)
    finally:
        os.killpg(os.getpgid(0), signal.SIGKILL)


def _run(name: str, folder: Path, runner: str) -> int:
    # A shell may have started us with SIGINT ignored; the steps inherit what is set here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("ignore")
    from kfp import components, local

    from pipelines.intermediate import compile_pipeline, local_view
    from pipelines.local import kfp_loops as local_loops

    pipeline = components.load_component_from_text(local_view(compile_pipeline(name), retries=runner == "docker"))
    line = sys.stdin.readline()
    if not line:
        return 1
    threading.Thread(target=_follow_parent, args=(folder, runner), daemon=True).start()
    arguments = json.loads(line)
    local_loops.install()
    if runner == "docker":
        containers = Containers(folder)
        containers.install()
        signal.signal(signal.SIGINT, lambda *_: _interrupt(containers))
        local.init(local.DockerRunner(**run_options(folder, os.environ, arguments)), pipeline_root=str(folder))
    else:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder))
    try:
        pipeline(**arguments)
    except (RuntimeError, StepFailedError) as error:
        print(f"{RUN_FAILED}{error}", flush=True)
        return 1
    return 0


def _interrupt(containers: Containers) -> NoReturn:
    """Ctrl-C reaches the processes of this group, but no container."""
    containers.stop()
    raise KeyboardInterrupt


def _wait_for_steps(seconds: float = 5.0) -> None:
    """Lets an interrupted step end by itself: a training marks its MLflow run as killed."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0] or time.monotonic() < deadline:
            time.sleep(0.05)


if __name__ == "__main__":
    # Not `sys.exit`: the thread above waits in a read that would hold up the end of the interpreter.
    try:
        code = _run(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    except KeyboardInterrupt:
        _wait_for_steps()
        code = 130
    sys.stdout.flush()
    os._exit(code)
