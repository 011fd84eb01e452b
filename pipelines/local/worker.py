"""The process in which KFP runs a pipeline on this machine; `pipelines.local.run` starts it as a group leader.

Arguments: the pipeline's name, the folder of the run and the runner, `subprocess` or `docker`. Reads the pipeline's
arguments, one line of JSON, from standard input. At the end of that input the parent has died, and this process kills
its whole group, including the running step: KFP's runners do not watch for it.
"""

import json
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, NoReturn

import psutil

from pipelines.local.kfp_docker import Containers, StepFailedError, remove_containers, run_options


def _follow_parent(folder: Path, runner: str) -> None:
    sys.stdin.read()
    try:
        if runner == "docker":
            remove_containers(folder)
    finally:
        os.killpg(os.getpgid(0), signal.SIGKILL)


def find_python_by_path() -> None:
    """Let the steps' shell find this interpreter by PATH.

    KFP writes its path into the shell command without quotes, so that a blank in it breaks every step, and replaces the
    text `python3` in the arguments of a step as well.
    """
    from kfp.local import subprocess_task_handler

    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    subprocess_task_handler.replace_python_executable = lambda full_command, new_executable: full_command


def allow_null() -> None:
    """Let None stand inside of a parameter that is a dictionary or a list, as in a configuration and on a cluster.

    KFP's conversion (2.17) knows the other types of JSON only.
    """
    from google.protobuf import struct_pb2
    from kfp.compiler import pipeline_spec_builder

    convert = pipeline_spec_builder.to_protobuf_value

    def with_null(value: Any) -> Any:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE) if value is None else convert(value)

    pipeline_spec_builder.to_protobuf_value = with_null


def _run(name: str, folder: Path, runner: str) -> int:
    # A shell may have started this process with SIGINT ignored; the steps inherit the handler.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("ignore")
    from kfp import components, local

    from pipelines.intermediate import compile_pipeline, local_view
    from pipelines.local import kfp_log, kfp_loops

    pipeline = components.load_component_from_text(local_view(compile_pipeline(name), retries=runner == "docker"))
    line = sys.stdin.readline()
    if not line:
        return 1
    threading.Thread(target=_follow_parent, args=(folder, runner), daemon=True).start()
    arguments = json.loads(line)
    kfp_loops.install()
    allow_null()
    kfp_log.report_steps()
    if runner == "docker":
        containers = Containers(folder)
        containers.install()
        signal.signal(signal.SIGINT, lambda *_: _interrupt(containers))
        local.init(local.DockerRunner(**run_options(folder, os.environ, arguments)), pipeline_root=str(folder))
    else:
        find_python_by_path()
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder))
    try:
        pipeline(**arguments)
    except (RuntimeError, StepFailedError) as error:
        print(error, flush=True)
        return 1
    return 0


def _interrupt(containers: Containers) -> NoReturn:
    """A terminal sends Ctrl-C to the processes of this group, but not to containers."""
    containers.stop()
    raise KeyboardInterrupt


if __name__ == "__main__":
    # Not `sys.exit`: it would wait for the thread that reads standard input.
    try:
        code = _run(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    except KeyboardInterrupt:
        # An interrupted training marks its MLflow run as killed.
        psutil.wait_procs(psutil.Process().children(), timeout=5)
        code = 130
    sys.stdout.flush()
    os._exit(code)
