"""Trains a detector and a classifier with the network cut off, and writes down who wanted to use it.

python yolo_quiet.py DATA OUTPUT ATTEMPTS
"""

import ipaddress
import json
import socket
import sys
from pathlib import Path
from typing import Any

ATTEMPTS: list[str] = []


def local(host: Any) -> bool:
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def cut_off() -> None:
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def no_connect(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX or local(address[0]):
            return connect(self, address)
        ATTEMPTS.append(f"connect {address}")
        raise OSError("the network is cut off")

    def no_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if local(host):
            return look_up(host, *arguments, **options)
        ATTEMPTS.append(f"look up {host}")
        raise OSError("the network is cut off")

    socket.socket.connect = no_connect  # type: ignore[method-assign, assignment]
    socket.socket.connect_ex = no_connect  # type: ignore[method-assign, assignment]
    socket.getaddrinfo = no_look_up  # type: ignore[assignment]
    socket.gethostbyname = no_look_up


if __name__ == "__main__":
    data, output, attempts = map(Path, sys.argv[1:])
    cut_off()
    try:
        socket.create_connection(("example.org", 80))
    except OSError:
        assert ATTEMPTS.pop() == "look up example.org"
    from yolo_samples import config

    from components.train_yolo.train import train

    for task in ("detect", "classify"):
        train(
            config(output / "models", task=task, epochs=1, plots=True, cache="ram"),
            data / "images",
            data / "annotations.json",
            output / task,
            output / f"{task}-onnx",
            name="x",
        )
    attempts.write_text(json.dumps(ATTEMPTS))
