"""The shipped server in a cgroup of the shipped limit: whatever is sent, it answers and lives."""

import base64
import contextlib
import io
import json
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from server_process import Server, picture, serving

MIB = 2**20
LIMIT_MIB = 512


@pytest.fixture(scope="module")
def group() -> Iterator[Path]:
    """A cgroup of version 1 or 2 with a memory limit, below that of the tests."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        folder = Path("/sys/fs/cgroup", controllers, path.strip("/"), f"facet-test-{os.getpid()}")
        try:
            folder.mkdir()
        except OSError:
            continue
        limit = folder / ("memory.max" if not controllers else "memory.limit_in_bytes")
        with contextlib.suppress(OSError):
            limit.write_text(str(LIMIT_MIB * MIB))
            yield folder
            folder.rmdir()
            return
        folder.rmdir()
    pytest.skip("no cgroup with a memory limit can be made here")


@pytest.fixture(scope="module")
def server(group: Path, model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    def enter() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    with serving(tmp_path_factory.mktemp("server"), "--model", str(model_file), before=enter) as server:
        yield server


def test_it_reads_its_limit_and_says_so(server: Server) -> None:
    time.sleep(0.1)
    found = re.search(r"(\d+) lanes with (\d+) MiB each for a picture, of 512 MiB in all", server.log.read_text())
    assert found and int(found[1]) * int(found[2]) <= LIMIT_MIB * 3 // 8


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tensor(data: str, shape: list[int], kind: str = "UINT8", **more: Any) -> bytes:
    fields = {"name": "images", "datatype": kind, "shape": shape, "data": "@"}
    return json.dumps({"inputs": [fields]} | more).replace('"@"', data).encode()


def many_scans() -> bytes:
    data = encoded(Image.new("L", (3000, 3000)), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * 1500 + b"\xff\xd9"


def keys(count: int) -> bytes:
    return b",".join(b'"%d":1' % number for number in range(count))


PREDICT, INFER = "/predict", "/v2/models/tiny/infer"
V1, INVOCATIONS = "/v1/models/tiny:predict", "/invocations"
NESTED = json.dumps([[[[0] * 3] * 32] * 40] * 1000, separators=(",", ":"))
BODIES = {
    "palette": (PREDICT, lambda: encoded(Image.new("P", (9900, 9900)), "PNG"), 413, "decoding this PNG"),
    "transparent": (PREDICT, lambda: encoded(Image.new("RGBA", (2900, 2900)), "PNG"), 200, ""),
    "webp": (PREDICT, lambda: encoded(Image.new("RGBA", (3000, 3000)), "WEBP", lossless=True), 413, "WEBP"),
    "gif": (PREDICT, lambda: encoded(Image.new("P", (5000, 5000)), "GIF"), 413, "decoding this GIF"),
    "progressive": (PREDICT, lambda: encoded(Image.new("RGB", (5000, 5000)), "JPEG", progressive=True), 413, "JPEG"),
    "baseline": (PREDICT, lambda: encoded(Image.new("RGB", (9900, 9900)), "JPEG"), 200, ""),
    "scans": (PREDICT, many_scans, 413, "scans"),
    "faces": (PREDICT + "?" + "box=1,1,2500,1500&" * 64, lambda: encoded(Image.new("L", (1600, 1600)), "PNG"), 200, ""),
    "inputs": (INFER, lambda: b'{"inputs":[' + b"1," * 8_000_000 + b"1]}", 400, "inputs.0"),
    "objects": (INFER, lambda: b'{"inputs":[' + b"{}," * 5_000_000 + b"{}]}", 400, "inputs.0"),
    "strings": (INFER, lambda: tensor("[" + '"",' * 3_000_000 + '""]', [1000, 40, 32, 3]), 400, "0 to 255"),
    "lists": (INFER, lambda: tensor("[" + "[]," * 3_000_000 + "[]]", [1000, 40, 32, 3]), 400, "does not fill"),
    "files": (INFER, lambda: tensor("[" + '"",' * 5_000_000 + '""]', [5_000_001], "BYTES"), 400, "too many"),
    "numbers": (INFER, lambda: tensor(NESTED, [1000, 40, 32, 3]), 200, ""),
    "shape": (INFER, lambda: tensor("[0]", [10**4000] * 250), 400, "inputs.0.shape"),
    "axes": (INFER, lambda: tensor("[0]", [2**31] * 100_000), 400, "inputs.0.shape"),
    "outputs": (INFER, lambda: tensor("[0]", [1, 40, 32, 3], outputs=[{"name": "mask"}] * 600_000), 400, "outputs"),
    "id": (INFER, lambda: tensor("[0]", [1, 40, 32, 3], id="x" * 10**7), 400, "id"),
    "json": (PREDICT, lambda: b'{"images":[' + b"1," * 8_000_000 + b"1]}", 400, ""),
    "pixels": (PREDICT, lambda: b'{"image":' + b"[" * 8_000_000 + b"]" * 8_000_000 + b"}", 400, "recursion"),
    "instances": (V1, lambda: b'{"instances":[' + b"1," * 8_000_000 + b"1]}", 400, ""),
    "records": (INVOCATIONS, lambda: b'{"dataframe_records":[' + b"{}," * 5_000_000 + b"{}]}", 400, ""),
    "record": (INVOCATIONS, lambda: b'{"dataframe_records":[{' + keys(1_200_000) + b"}]}", 400, ""),
    "rows": (
        INVOCATIONS,
        lambda: b'{"dataframe_split":{"columns":["a"],"data":[' + b"[]," * 5_000_000 + b"[]]}}",
        400,
        "",
    ),
    "columns": (
        INVOCATIONS,
        lambda: b'{"dataframe_split":{"columns":[' + b'"",' * 5_000_000 + b'""],"data":[]}}',
        400,
        "",
    ),
    "values": (INVOCATIONS, lambda: b'{"inputs":[' + b"1," * 8_000_000 + b"1]}", 400, ""),
    "params": (INVOCATIONS, lambda: b'{"inputs":[1],"params":{"a":[' + b"[]," * 5_000_000 + b"[]]}}", 400, "values"),
    "boxes": (PREDICT, lambda: b'{"image":"","boxes":[' + b"[1,1,1,1]," * 1_600_000 + b"[]]}", 400, ""),
    "index": ("/v2/repository/index", lambda: b'{"a":[' + b"[]," * 5_000_000 + b"[]]}", 400, "values"),
    "list of pixels": (PREDICT, lambda: json.dumps({"image": [[[0] * 3] * 350] * 370}).encode(), 200, ""),
    "picture text": (PREDICT, lambda: b'{"image":"' + b"A" * 16_000_000 + b'"}', 400, "not an image"),
    "nesting": (INFER, lambda: tensor("[" * 7_000_000 + "]" * 7_000_000, [1, 40, 32, 3]), 400, "recursion"),
}


@pytest.mark.parametrize("name", BODIES)
def test_few_bytes_cannot_take_much(server: Server, name: str) -> None:
    """Two at once; meanwhile it says that it lives, and afterwards it is well."""
    path, make, status, text = BODIES[name]
    body = make()
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(server.request, "POST", path, body) for _ in range(2)]
        while not all(answer.done() for answer in answers):
            began = time.monotonic()
            assert server.request("GET", "/v2/health/live")[0] == 200
            assert time.monotonic() - began < 5
            time.sleep(0.05)
        for answer in answers:
            found, content = answer.result()
            assert found in (status, 503, 504) and (found != status or text in json.dumps(content)), content
    assert server.request("POST", "/predict", picture())[0] == 200


def test_many_files_of_many_pixels_end_with_the_time_of_the_request(server: Server) -> None:
    file = base64.b64encode(encoded(Image.new("P", (1800, 1800)), "PNG")).decode()
    status, content = server.request("POST", INFER, tensor(json.dumps([file] * 64), [64], "BYTES"))
    assert status in (200, 504), content
