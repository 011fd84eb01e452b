"""Front ends of the local stack: the model server, and the web pages of MLflow and TensorBoard."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pipelines.environment.settings import Settings
from pipelines.local.stack import keep_up, public_address
from pipelines.local.supervisor import free_port

TENSORBOARD_PORT = 6006


def serve(model: str, port: int, settings: Settings, *, echo: Callable[[str], None] = print) -> None:
    """Replaces this process by the server of `model`; starts the local stack for a model in MLflow or S3.

    Raises:
        ServerError: the local stack cannot be started.
    """
    if model.startswith(("models:", "s3:")):
        stack = keep_up(settings.home, wait=model.startswith("models:"))
        os.environ.update(stack.environment)
        for line in stack.lines():
            echo(line)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "serving", "--model", model, "--port", str(port)])


def open_pages(settings: Settings, *, echo: Callable[[str], None] = print) -> None:
    """Shows the addresses of MLflow and TensorBoard, and runs TensorBoard until Ctrl-C.

    Raises:
        ServerError: the local stack cannot be started.
    """
    stack = keep_up(settings.home)
    port = free_port(TENSORBOARD_PORT)
    settings.runs.mkdir(parents=True, exist_ok=True)
    echo(f"MLflow       {public_address(stack.environment['MLFLOW_TRACKING_URI'])}")
    echo(f"TensorBoard  http://127.0.0.1:{port}   (Ctrl-C stops it; `facet stack down` stops MLflow and S3)")
    log = settings.home / "logs" / "tensorboard.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    options = [f"--logdir={settings.runs.resolve()}", "--host=127.0.0.1", f"--port={port}"]
    with log.open("ab") as file:
        command = [str(Path(sys.executable).with_name("tensorboard")), *options]
        tensorboard = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        tensorboard.wait()
    except KeyboardInterrupt:
        echo("")
    finally:
        tensorboard.terminate()
        tensorboard.wait()
