import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from components.calibrate import temperature as module
from components.calibrate.graph import temper
from components.calibrate.temperature import HIGHEST, LOWEST, MOST_ERROR, Fit, tempered
from components.shared.metrics.classification import calibration

Rows = NDArray[np.float32]


def softmax(logits: NDArray[np.floating]) -> Rows:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def drawn(temperature: float, count: int, labels: int = 3, seed: int = 0) -> tuple[NDArray[np.int64], Rows]:
    """Labels and probabilities of a model whose best temperature is this one."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (count, labels))
    shares = softmax(logits / temperature).astype(np.float64)
    truth = (rng.random((count, 1)) > shares.cumsum(axis=1)).sum(axis=1).clip(max=labels - 1)
    return truth, softmax(logits)


def fit_temperature(truth: NDArray[np.int64], probabilities: Rows, copies: int = 1) -> Fit:
    """Each face `copies` times: all of one person."""
    persons = np.repeat(np.arange(len(truth)), copies)
    return module.fit_temperature(np.repeat(truth, copies), np.repeat(probabilities, copies, axis=0), persons)


def log_loss(truth: NDArray[np.int64], probabilities: NDArray[np.floating]) -> float:
    chosen = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return float(-np.log(np.maximum(chosen, 1e-38)).mean())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5, 6.0])
def test_the_temperature_that_labels_were_drawn_with_is_found(temperature: float) -> None:
    truth, probabilities = drawn(temperature, 4000)
    fit = fit_temperature(truth, probabilities)
    assert fit.temperature is not None and fit.error is not None and not fit.reason
    assert abs(fit.temperature / temperature - 1) < 3 * fit.error < 0.15
    # No other temperature has a lower log loss.
    losses = {at: log_loss(truth, tempered(probabilities, at)) for at in np.geomspace(LOWEST, HIGHEST, 300)}
    assert log_loss(truth, tempered(probabilities, fit.temperature)) <= min(losses.values()) + 1e-6
    if temperature != 1:
        before, after = (
            calibration(truth, of).error for of in (probabilities, tempered(probabilities, fit.temperature))
        )
        assert after < before / 2


def test_the_standard_error_is_that_of_repeated_draws() -> None:
    fits = [fit_temperature(*drawn(2.0, 300, seed=seed)) for seed in range(60)]
    spread = np.std(np.log([fit.temperature for fit in fits if fit.temperature]))
    stated = np.mean([fit.error for fit in fits if fit.error])
    assert 0.7 < spread / stated < 1.4


def test_faces_of_one_person_are_no_further_evidence() -> None:
    once, often = fit_temperature(*drawn(2.0, 300)), fit_temperature(*drawn(2.0, 300), copies=9)
    assert once.temperature == often.temperature and once.error is not None and often.error is not None
    assert 0.8 < often.error / once.error < 1.25, "not a third of it"
    truth, probabilities = drawn(2.0, 300)
    one = module.fit_temperature(truth, probabilities, np.zeros(300, int))
    assert (one.temperature, one.reason) == (None, "all 300 faces are of one person")


def test_the_temperature_is_scipys() -> None:
    for seed in range(5):
        truth, probabilities = drawn(1.7, 200, seed=seed)
        logs = np.log(probabilities.astype(float))

        def loss(log_temperature: float, logs: NDArray[np.float64] = logs, truth: NDArray[np.int64] = truth) -> float:
            scaled = logs / np.exp(log_temperature)
            return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(truth)), truth]).mean())

        best = minimize_scalar(loss, bounds=(-2, 2), method="bounded", options={"xatol": 1e-9}).x
        assert fit_temperature(truth, probabilities).temperature == pytest.approx(np.exp(best), abs=2e-4)


def test_faces_that_tell_no_temperature_give_a_reason() -> None:
    truth, probabilities = drawn(2.0, 12)
    few = fit_temperature(truth, probabilities)
    assert few.temperature is None and few.error is not None and few.error > MOST_ERROR
    assert "of 12 faces of 12 persons" in few.reason and "at most 25% is allowed; about" in few.reason
    needed = int(few.reason.split("about ")[1].split()[0])
    assert needed > 12 and fit_temperature(*drawn(2.0, 4 * needed)).temperature is not None
    assert fit_temperature(probabilities.argmax(axis=1), probabilities).reason.startswith("all 12 faces are right")
    assert fit_temperature(np.zeros(0, np.int64), probabilities[:0]).reason == "no face has a label"
    rng = np.random.default_rng(1)
    guessed = fit_temperature(rng.integers(0, 3, 500), softmax(rng.normal(0, 9, (500, 3))))
    assert guessed.temperature is None and guessed.reason == "the best temperature is not between 0.1 and 10"


def test_a_probability_of_zero_is_the_smallest_one_and_costs_a_number() -> None:
    truth, probabilities = drawn(3.0, 2000)
    probabilities[:5] = (0, 1, 0)
    truth[:5] = 2
    fit = fit_temperature(truth, probabilities)
    assert fit.temperature is not None and np.isfinite(log_loss(truth, tempered(probabilities, fit.temperature)))


def tempered_by_graph(rows: Rows, temperature: float, opset: int = 20) -> Rows:
    """What a graph gives that gives `rows` itself before it is tempered."""
    shape = ("N", rows.shape[1])
    graph = helper.make_graph(
        [helper.make_node("Identity", ["rows"], ["mask"]), helper.make_node("Identity", ["mask"], ["other"])],
        "rows",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("mask", "other")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    temper(model, {"mask": temperature})
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    mask, other = session.run(["mask", "other"], {"rows": rows})
    np.testing.assert_array_equal(other, rows, "what else reads the head still reads what it gave")
    return mask


@pytest.mark.parametrize("opset", [17, 18, 20])
def test_the_graph_gives_what_the_formula_gives(opset: int) -> None:
    _, probabilities = drawn(1.0, 500, labels=18)
    for temperature in (0.1, 0.7, 1.0, 2.5, 10.0):
        np.testing.assert_allclose(
            tempered_by_graph(probabilities, temperature, opset), tempered(probabilities, temperature), atol=1e-6
        )


@settings(max_examples=60, deadline=None)
@given(
    rows=arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(2, 18)), elements=st.floats(0, 1, width=32)),
    steps=st.lists(st.integers(0, 3), min_size=18, max_size=18),
    temperature=st.floats(LOWEST, HIGHEST),
)
def test_no_label_changes_and_probabilities_sum_to_1(rows: Rows, steps: list[int], temperature: float) -> None:
    rows[:, 0] += np.float32(1e-3)
    rows = (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
    # One row more, of probabilities that differ in their last bits only, or not at all.
    close = np.full(rows.shape[1], 1 / rows.shape[1], np.float32)
    close.view(np.int32)[:] += np.array(steps[: len(close)], np.int32)
    rows = np.concatenate([rows, close[None]])
    given = tempered_by_graph(rows, temperature)
    np.testing.assert_array_equal(given.argmax(axis=1), rows.argmax(axis=1))
    np.testing.assert_array_equal(
        given == given.max(axis=1, keepdims=True), rows == rows.max(axis=1, keepdims=True), "ties stay ties"
    )
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=5e-6)
    assert given.min() >= 0 and given.max() <= 1 and np.isfinite(given).all()


def test_probabilities_of_zero_and_one_stay_numbers() -> None:
    rows = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0], [1e-45, 1, 0]], np.float32)
    for temperature in (LOWEST, 1.0, HIGHEST):
        given = tempered_by_graph(rows, temperature)
        assert np.isfinite(given).all()
        np.testing.assert_allclose(given, tempered(rows, temperature), atol=1e-6)
