"""However a graph runs, it gives what it gives alone; and what runs it is chosen, or said to be missing."""

import json
import logging
import warnings
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from tiny_detector import build_detector
from tiny_model import build_model, card_facts

from serving.runtime import execution
from serving.runtime import graph as graph_module
from serving.runtime.architecture import architecture
from serving.runtime.execution import Execution, Provider, accelerated, installed
from serving.runtime.graph import Speed
from serving.runtime.session import Outputs, Session
from serving.runtime.work import Work

MODEL, DETECTOR = build_model(), build_detector()


@pytest.fixture(autouse=True)
def _nothing_measured_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_module, "_kept", OrderedDict())


def checked(content: bytes, **how: Any) -> Session:
    session = Session(content, execution=Execution(**how))
    session.check_graph()
    return session


def some(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (count, 40, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("way", ["shared", "single", "both", "batch"])
def test_every_way_gives_the_answers_of_a_call_alone(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    same = Speed(100.0, 0.02)
    speeds = {"shared": same, "single": same, "shared alone": Speed(90.0, 0.02), "single alone": Speed(50.0, 0.01)}
    speeds |= {
        "shared": {"single": Speed(100.0, 0.022), "batch": Speed(500.0, 0.016)},
        "single": {"single": Speed(100.0, 0.018), "single alone": Speed(89.0, 0.01), "batch": same},
        "both": {"batch": same},
        "batch": {"single": Speed(100.0, 0.018), "batch": Speed(100.0, 0.013)},
    }[way]
    monkeypatch.setattr(graph_module, "_measure", lambda ways, image, busy: {name: [speeds[name]] * 3 for name in ways})
    session, alone = checked(MODEL, threads=2, lanes=4), checked(MODEL, threads=1)
    assert session.plan.way == way and session.plan.speeds == speeds

    def run(seed: int) -> tuple[Outputs, Outputs]:
        work = Work(alone=lambda: seed % 2 == 0)
        return session.run(some(1 + seed % 11, seed), work), alone.run(some(1 + seed % 11, seed))

    with ThreadPoolExecutor(4) as pool:
        for outputs, expected in pool.map(run, range(60)):
            for name, values in expected.items():
                np.testing.assert_allclose(outputs[name], values, rtol=0, atol=0 if way != "batch" else 1e-6)


def test_what_is_measured_is_bounded_in_time_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        session = checked(MODEL, threads=2, lanes=2)
    assert session.plan.speeds.keys() == {"shared", "single", "shared alone", "single alone", "batch"}
    assert "the model runs on cpu, " in caplog.text and "shared alone" in caplog.text
    assert checked(MODEL, threads=1, lanes=2, mode="lanes").plan.speeds == {}
    assert checked(MODEL).plan == graph_module.Plan("cpu", "shared", {})


def trained_again(content: bytes) -> bytes:
    """Another training of a model: other weights and another card."""
    model = onnx.load_from_string(content)
    for weights in model.graph.initializer:
        values = numpy_helper.to_array(weights)
        if values.ndim > 1:
            weights.CopyFrom(numpy_helper.from_array(values * np.float32(0.9), weights.name))
    helper.set_model_props(
        model, {"facet_card": json.dumps(card_facts(name="trained again", training_digest="2" * 64))}
    )
    return model.SerializeToString()


def test_the_next_training_of_a_model_runs_as_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that the one before answers meanwhile count for nothing: nothing is measured."""
    before = checked(MODEL, threads=2, lanes=2)
    monkeypatch.setattr(graph_module, "_measure", lambda ways, image, busy: pytest.fail("measured again"))
    after = checked(trained_again(MODEL), threads=2, lanes=2, busy=lambda: True)
    assert after.card.name == "trained again" and after.plan == before.plan and after.plan.speeds
    # Another number of lanes is another question.
    with pytest.raises(pytest.fail.Exception):
        checked(trained_again(MODEL), threads=2, lanes=3)


def test_beside_requests_nothing_is_measured() -> None:
    """Not when they are computed from the start, and not when the first one comes in the middle."""
    for quiet in (0, 4):
        looks = iter([False] * quiet)
        plan = checked(MODEL, threads=2, lanes=2, busy=lambda looks=looks: next(looks, True)).plan
        assert plan == graph_module.Plan("cpu", "both", {}) and str(plan) == "cpu, both"
    assert checked(MODEL, threads=1, lanes=2, busy=lambda: True).plan.way == "shared"
    # What was a guess is measured when it can be.
    assert checked(MODEL, threads=2, lanes=2).plan.speeds


def test_an_architecture_is_operators_and_shapes_and_not_values() -> None:
    same = architecture(MODEL)
    assert architecture(trained_again(MODEL)) == same
    hat = card_facts(heads=[{"name": "mask", "labels": ["worn", "absent"]}, {"name": "gender", "labels": ["m", "f"]}])
    strided, quarter = onnx.load_from_string(MODEL), onnx.load_from_string(MODEL)
    next(node for node in strided.graph.node if node.op_type == "Conv").attribute[0].ints[:] = [2, 2]
    quarter.graph.initializer[0].data_type = onnx.TensorProto.FLOAT16
    others = [build_model(hat), strided.SerializeToString(), quarter.SerializeToString(), DETECTOR]
    assert len({same, *map(architecture, others)}) == 5


def test_a_second_session_is_not_tried_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph_module, "usable_memory", lambda: 8 * len(MODEL))
    assert checked(MODEL, threads=2, lanes=2).plan.speeds.keys() == {"shared", "batch"}


def test_a_graph_that_quantizes_by_the_batch_is_never_given_one(tmp_path: Path) -> None:
    """The range of one image would be that of its neighbors too."""
    (tmp_path / "float.onnx").write_bytes(MODEL)
    quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QInt8)
    quantized = onnx.load(tmp_path / "int8.onnx")
    assert any("DynamicQuantize" in node.op_type for node in quantized.graph.node)
    del quantized.metadata_props[:]
    helper.set_model_props(quantized, {"facet_card": json.dumps(card_facts())})
    session = checked(quantized.SerializeToString(), threads=1, lanes=4, mode="batch")
    assert session.plan.way == "shared"
    images = some(9)
    together = session.run(images)
    for row, image in enumerate(images):
        for name, values in session.run(image[None]).items():
            np.testing.assert_array_equal(together[name][row], values[0])


def test_a_provider_that_is_missing_is_replaced_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert installed()[-1] == "cpu"
    session = checked(MODEL, provider="tensorrt")
    assert session.plan.provider == "cpu" and "the execution provider tensorrt cannot be used" in caplog.text
    caplog.clear()
    assert checked(MODEL, provider="auto").plan.provider == "cpu" and not caplog.text


@pytest.mark.parametrize("listed", [False, True])
def test_a_device_counts_only_where_it_computes(listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime for GPUs lists CUDA on a machine without one too."""
    assert execution._open(execution._IDENTITY, "cpu", 1).get_providers() == ["CPUExecutionProvider"]
    if listed:
        every = list(execution.NAMES.values())
        monkeypatch.setattr(execution.onnxruntime, "get_available_providers", lambda: every)
    execution._works.cache_clear()
    with warnings.catch_warnings(action="ignore"):  # onnxruntime's, about the provider that it does not have
        assert [name for name in get_args(Provider) if accelerated(name)] == []
    execution._works.cache_clear()


def test_a_detector_of_any_size_joins_images_of_one_size() -> None:
    session, alone = checked(DETECTOR, threads=1, lanes=4, mode="batch"), checked(DETECTOR, threads=1)
    stride = session.card.stride
    assert session.plan.way == "batch" and stride is not None

    def run(seed: int) -> tuple[Outputs, Outputs]:
        size = (1 + seed % 3, stride * (1 + seed % 2), stride * (1 + seed // 2 % 2), 3)
        images = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
        return session.run(images), alone.run(images)

    with ThreadPoolExecutor(4) as pool:
        for outputs, expected in pool.map(run, range(24)):
            for name, values in expected.items():
                np.testing.assert_array_equal(outputs[name], values)
