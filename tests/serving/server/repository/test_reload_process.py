"""A real server whose models change while it answers."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from mlflow_registry import MlflowServer
from model_store import Store, flipped, sealed_model
from onnx import helper, numpy_helper
from server_process import Server, picture, serving
from stub_server import until
from tiny_model import build_model, card_facts

from serving.runtime.card import METADATA_KEY
from serving.runtime.seal import SEAL_KEY, ZEROS, sealed

MIB = 2**20


def resident(server: Server) -> int:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * 4096


def settled(server: Server) -> int:
    """MiB in memory when nothing is being loaded or let go of: the least within two seconds."""
    return min((time.sleep(0.1), resident(server))[1] for _ in range(20)) // MIB


def heavy_model(number: int, mib: int = 40) -> bytes:
    """A model with so many MiB of weights, others for each number."""
    model = onnx.load_from_string(build_model(card_facts(dataset_digest=f"{number:064}")))
    width = mib * MIB // 4 // 12
    random = np.random.default_rng(number)
    for name, shape in (("wide", (6, width)), ("narrow", (width, 6))):
        values = random.standard_normal(shape, dtype=np.float32) / 1000
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    (flatten,) = [node for node in model.graph.node if node.op_type == "Flatten"]
    flatten.output[0] = "flat"
    at = list(model.graph.node).index(flatten) + 1
    model.graph.node.insert(at, helper.make_node("MatMul", ["flat", "wide"], ["spread"]))
    model.graph.node.insert(at + 1, helper.make_node("MatMul", ["spread", "narrow"], ["features"]))
    facts = {one.key: one.value for one in model.metadata_props}
    helper.set_model_props(model, facts | {SEAL_KEY: ZEROS})
    assert METADATA_KEY in facts
    return sealed(model.SerializeToString())


@pytest.mark.parametrize(("at", "name"), [("", "mine"), ("mask/1/", "mask")])
def test_the_folder_of_kserve_holds_a_model_or_a_repository(
    folder_store: Store, tmp_path: Path, at: str, name: str
) -> None:
    folder_store.put(f"{at}model.onnx", sealed_model(1))
    options = ("--model_dir", folder_store.uri, "--model_name=mine", "--http_port", "0")
    with serving(tmp_path, *options) as server:
        assert server.request("GET", "/v2/models")[1] == {"models": [name]}
        assert ("--name mine is not used" in server.log.read_text()) == bool(at)


@pytest.mark.slow
def test_memory_is_flat_over_a_hundred_reloads(folder_store: Store, tmp_path: Path) -> None:
    """With requests in between, and every tenth reload of a broken file."""
    versions = [heavy_model(number) for number in range(4)]
    folder_store.put("mask/1/model.onnx", versions[0])
    # With one lane of one thread there is one session; else measuring chooses one or two at each load.
    options = ("--repository", folder_store.uri, "--poll-s", "0", "--lanes", "1", "--threads", "1")
    with serving(tmp_path, *options) as server:
        sizes = []
        for number in range(1, 101):
            broken = number % 10 == 5
            folder_store.put("mask/1/model.onnx", versions[0][:MIB] if broken else versions[number % 4])
            status, answer = server.request("POST", "/v2/repository/models/mask/load")
            assert status == (400 if broken else 200), answer
            for seed in range(2):
                assert server.request("POST", "/predict", picture(seed))[0] == 200
            if number % 10 == 0:
                sizes.append(settled(server))
        print("MiB after each ten reloads:", sizes)
        assert min(sizes[-3:]) <= 1.05 * max(sizes[:3]), f"single sizes vary by 20 MiB, but all would grow: {sizes}"


def test_a_promotion_reaches_a_running_server(mlflow: MlflowServer, tmp_path: Path) -> None:
    """Under requests: no answer is an error, and none comes from the old model after one from the new."""
    files = [sealed_model(1), sealed_model(2)]
    versions = [mlflow.register_run("promoted", {"model.onnx": content}) for content in files]
    broken = mlflow.register_run("promoted", {"model.onnx": flipped(files[0])})
    set_alias(mlflow, "promoted", versions[0])
    options = ("--model", "models:/promoted@champion", "--poll-s", "1")
    with serving(tmp_path, *options, MLFLOW_TRACKING_URI=mlflow.url) as server:
        answers: list[tuple[int, Any]] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                answers.append(server.request("POST", "/predict", picture()))

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            until(lambda: len(answers) > 3)
            set_alias(mlflow, "promoted", broken)
            until(lambda: "has changed since it was exported" in server.log.read_text(), 20)
            index = server.request("POST", "/v2/repository/index")[1]
            assert [(one["version"], one["state"]) for one in index] == [(versions[0], "READY")] and index[0]["reason"]
            assert server.request("GET", "/v2/health/ready")[0] == 200
            began = time.monotonic()
            set_alias(mlflow, "promoted", versions[1])
            until(lambda: answers[-1][1]["version"] == versions[1], 20)
            assert time.monotonic() - began < 10, "a look each second, and the load"
            asked = len(answers)
            until(lambda: len(answers) > asked + 3)
        finally:
            stop.set()
            asking.join()
        assert {status for status, _ in answers} == {200}
        seen = [answer["version"] for _, answer in answers]
        assert seen == sorted(seen, key=versions.index) and set(seen) == set(versions)
        assert server.log.read_text().count("cannot be loaded") == 1


def set_alias(mlflow: MlflowServer, name: str, version: str, alias: str = "champion") -> None:
    mlflow.call("POST", "/mlflow/registered-models/alias", {"name": name, "alias": alias, "version": version})
