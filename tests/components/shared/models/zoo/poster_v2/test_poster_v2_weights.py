"""Weights of other projects: what loads, what is refused, that nothing in a file runs (emotion 49, 51)."""

import builtins
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.serialization import get_safe_globals

from components.shared.models.zoo.poster_v2.model import PosterV2
from components.shared.models.zoo.poster_v2.unused import UNUSED
from components.shared.models.zoo.poster_v2.weights import load_ir50, load_mobilefacenet, load_official
from components.shared.models.zoo.poster_v2.weights_file import read_weights
from serving.runtime.errors import InputError, NotFoundError

State = dict[str, torch.Tensor]


class Recorder:
    """Stands for the class of the authors' training script that their checkpoints hold instances of."""

    def __init__(self) -> None:
        self.losses = np.zeros((3, 2), dtype=np.float32)
        self.best = np.float64(0.5)

    def __setstate__(self, state: object) -> None:
        raise AssertionError("code of the file's classes ran")


class Command:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable[[str], object], argument: str) -> None:
        self.call = function, (argument,)

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return self.call


def empty(outputs: int = 7, *, keep_unused: bool = False) -> PosterV2:
    """A model without initial values, which cost a second."""
    with torch.device("meta"):
        return PosterV2(outputs, keep_unused=keep_unused).to_empty(device="cpu")


@pytest.fixture(scope="module")
def model() -> PosterV2:
    return empty()


@pytest.fixture(scope="module")
def official() -> State:
    """All 747 tensors, the n-th of them full of n's (one number in memory and in the file)."""
    with torch.device("meta"):
        shapes = PosterV2(7, keep_unused=True).state_dict()
    return {name: torch.tensor(n, dtype=t.dtype).expand(t.shape) for n, (name, t) in enumerate(shapes.items())}


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def part(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def clear(model: PosterV2) -> None:
    for tensor in model.state_dict().values():
        tensor.zero_()


def assert_loaded(model: PosterV2, expected: State, *, but: str = "nothing") -> None:
    for name, tensor in model.state_dict().items():
        if not name.startswith(but):
            assert torch.equal(tensor, expected[name]), name


def test_an_official_checkpoint_loads_whole(model: PosterV2, official: State, tmp_path: Path) -> None:
    clear(model)
    path = tmp_path / "raf-db-model_best.pth"
    extras = {"epoch": 7, "best_acc": torch.tensor(92.21), "optimizer": {"state": {}, "param_groups": [{"lr": 3.5e-5}]}}
    recorders = {"recorder": Recorder(), "recorder1": Recorder()}
    torch.save({"state_dict": prefixed(official, "module."), **extras, **recorders}, path)
    allowed = set(get_safe_globals())
    load_official(model, path, head="keep")
    assert_loaded(model, official)
    assert set(get_safe_globals()) == allowed
    assert not any(parameter.requires_grad for parameter in model.face_landback.parameters())


def test_unused_tensors_may_be_absent_and_are_loaded_where_there_is_a_place_for_them(official: State) -> None:
    model = empty(keep_unused=True)
    load_official(model, {name: tensor for name, tensor in official.items() if name not in UNUSED}, head="keep")
    load_official(model, official, head="keep")
    assert_loaded(model, official)
    with pytest.raises(InputError, match=r"1 of another shape: VIT\.CON1\.weight"):
        load_official(model, {**official, "VIT.CON1.weight": torch.ones(1)}, head="keep")


def test_reset_begins_the_head_anew_whatever_the_files_classes(model: PosterV2, official: State) -> None:
    clear(model)
    eight = {"VIT.head.linear.weight": torch.ones(8, 768), "VIT.head.linear.bias": torch.ones(8)}
    load_official(model, {**official, **eight})
    assert_loaded(model, official, but="VIT.head")
    head = model.VIT.head.linear
    assert 0.015 < head.weight.std() < 0.025
    assert not head.bias.any()
    with pytest.raises(InputError, match=r"VIT\.head\.linear\.weight \(8, 768\) instead of \(7, 768\)"):
        load_official(model, {**official, **eight}, head="keep")


def test_reset_fills_a_model_without_a_head(official: State) -> None:
    headless = empty(0)
    load_official(headless, official)
    assert_loaded(headless, official)


WRONG: dict[str, tuple[Callable[[State], State], str]] = {
    "missing": (
        lambda s: {name: t for name, t in s.items() if not name.startswith("embed_")},
        r"8 missing: embed_q\.0\.weight, embed_q\.0\.bias, embed_q\.1\.weight, .* and 3 more",
    ),
    "unknown": (lambda s: {**s, "VIT.extra.weight": torch.ones(1)}, r"1 unknown: VIT\.extra\.weight$"),
    "misshapen": (
        lambda s: {**s, "conv1.bias": torch.ones(65)},
        r"1 of another shape: conv1\.bias \(65,\) instead of \(64,\)$",
    ),
    "another network": (lambda s: {"fc.weight": torch.ones(7, 512)}, r"missing: .*; 1 unknown: fc\.weight"),
    "no tensors": (lambda s: {**s, "epoch": 3}, r"'epoch': <class 'int'>"),
    "empty": (lambda s: {}, "expected a state dict"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_does_not_fit_is_named_and_nothing_is_loaded(
    model: PosterV2, official: State, change: Callable[[State], State], message: str
) -> None:
    clear(model)
    with pytest.raises(InputError, match=message):
        load_official(model, change(official))
    assert not any(tensor.any() for tensor in model.state_dict().values())


def test_an_unknown_choice_of_head_is_refused(model: PosterV2, official: State) -> None:
    with pytest.raises(InputError, match="unknown head 'new'; known: keep, reset"):
        load_official(model, official, head="new")


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": prefixed(s, "module.")}])
def test_mobilefacenet_loads_whole_or_not_at_all(
    model: PosterV2, official: State, tmp_path: Path, wrap: Callable[[State], object]
) -> None:
    clear(model)
    path = tmp_path / "mobilefacenet_model_best.pth.tar"
    landmarks = part(official, "face_landback.")
    torch.save(wrap(landmarks), path)
    load_mobilefacenet(model, path)
    assert_loaded(model.face_landback, landmarks)
    assert not model.ir_back.body1[0].res_layer[1].weight.any()
    landmarks.pop("conv1.bn.running_mean")
    with pytest.raises(InputError, match=r"1 missing: conv1\.bn\.running_mean"):
        load_mobilefacenet(model, landmarks)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": prefixed(s, "module.")}])
def test_ir50_reports_what_did_not_match(
    model: PosterV2,
    official: State,
    tmp_path: Path,
    wrap: Callable[[State], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    clear(model)
    path = tmp_path / "ir50.pth"
    weights = part(official, "ir_back.")
    del weights["body3.13.res_layer.1.weight"]
    weights["input_layer.2.weight"] = torch.ones(3)
    weights["body4.0.weight"] = torch.ones(3)
    torch.save(wrap(weights), path)
    result = load_ir50(model, path)
    assert set(result.kept) == {"body3.13.res_layer.1.weight", "input_layer.2.weight"}
    unused = {name.removeprefix("ir_back.") for name in UNUSED if name.startswith("ir_back.")}
    assert set(result.ignored) == unused | {"input_layer.2.weight", "body4.0.weight"}
    own = model.ir_back.state_dict()
    assert result.kept == tuple(name for name in own if name not in result.loaded)
    assert all(torch.equal(own[name], weights[name]) for name in result.loaded)
    assert not any(own[name].any() for name in result.kept)
    assert "2 tensors of IR-50 keep their values: input_layer.2.weight, body3.13.res_layer.1.weight" in caplog.text


def test_ir50_without_any_match_is_refused(model: PosterV2, official: State) -> None:
    with pytest.raises(InputError, match=r"expected names like input_layer\.0\.weight.* found face_landback"):
        load_ir50(model, official)


def test_calls_in_a_file_are_not_made(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "weights.pth"
    torch.save({"state_dict": {"a": torch.ones(1)}, "b": Command(builtins.exec, f"open({str(marker)!r}, 'w')")}, path)
    assert read_weights(path).keys() == {"a"}
    torch.save({"state_dict": {"a": torch.ones(1)}, "b": Command(os.system, f"touch {marker}")}, path)
    with pytest.raises(InputError, match="save its state_dict alone"):
        read_weights(path)
    assert not marker.exists()


def test_files_of_before_torch_1_6(tmp_path: Path) -> None:
    path = tmp_path / "old.pth.tar"
    torch.save({"module.a": torch.arange(3)}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(path)["a"], torch.arange(3))
    torch.save({"state_dict": {}, "recorder": Recorder()}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="save its state_dict alone"):
        read_weights(path)


def test_what_is_no_weights_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no weights at .*absent\.pth"):
        read_weights(tmp_path / "absent.pth")
    (tmp_path / "page.pth").write_text("<html>sign in</html>")
    with pytest.raises(InputError, match=r"page\.pth: torch cannot read"):
        read_weights(tmp_path / "page.pth")
    torch.save(Recorder(), tmp_path / "object.pth")
    with pytest.raises(InputError, match=r"object\.pth: expected a state dict"):
        read_weights(tmp_path / "object.pth")
