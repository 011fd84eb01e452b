"""Published weights of POSTER V2: what loads, what is refused, that nothing in a file runs."""

import builtins
import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.serialization import get_safe_globals

from components.shared.models.poster_v2_weights import NOT_READ, load_ir50, load_mobilefacenet, load_official
from components.shared.models.weights_file import read_weights, state_dict
from components.shared.models.zoo.poster_v2.model import PosterV2
from serving.runtime.errors import InputError

State = dict[str, torch.Tensor]

# Of the sorted lines "name<tab>shape<tab>dtype" of a published 7-class checkpoint's tensors.
OFFICIAL_DIGEST = "d14da1051503155db8edbe9cc4c3bf0c1634fe79fcffa24a6da103a2865e5238"
TENSORS = {
    "face_landback": 333,
    "ir_back": 304,
    "VIT": 46,
    **{f"attn{level}": 6 for level in (1, 2, 3)},
    **{f"ffn{level}": 8 for level in (1, 2, 3)},
    **{f"window{level}": 2 for level in (1, 2, 3)},
    **{f"conv{level}": 2 for level in (1, 2, 3)},
    "last_face_conv": 2,
    "embed_q": 4,
    "embed_k": 2,
    "embed_v": 2,
}
SHAPES_NOT_READ: dict[str, tuple[int, ...]] = {
    **{
        f"ir_back.output_layer.{layer}.{name}": (512,)
        for layer in (0, 4)
        for name in ("weight", "bias", "running_mean", "running_var")
    },
    "ir_back.output_layer.0.num_batches_tracked": (),
    "ir_back.output_layer.4.num_batches_tracked": (),
    "ir_back.output_layer.3.weight": (512, 25088),
    "ir_back.output_layer.3.bias": (512,),
    "VIT.patch_embed.proj.weight": (768, 256, 1, 1),
    "VIT.patch_embed.proj.bias": (768,),
    "VIT.eca_block.conv.weight": (1, 1, 5),
    "VIT.CON1.weight": (768, 256, 1, 1),
    "VIT.IRLinear1.weight": (768, 1024),
    "VIT.IRLinear1.bias": (768,),
    "VIT.IRLinear2.weight": (512, 768),
    "VIT.IRLinear2.bias": (512,),
    "VIT.blocks.0.conv.weight": (148, 148, 1),
    "VIT.blocks.0.conv.bias": (148,),
    "VIT.blocks.1.conv.weight": (148, 148, 1),
    "VIT.blocks.1.conv.bias": (148,),
}


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


def empty(outputs: int = 7) -> PosterV2:
    """A model without initial values, which cost a second."""
    with torch.device("meta"):
        return PosterV2(outputs).to_empty(device="cpu")


@pytest.fixture(scope="module")
def model() -> PosterV2:
    return empty()


@pytest.fixture(scope="module")
def official() -> State:
    """All 747 tensors, the n-th of them full of n's (one number in memory and in the file)."""
    with torch.device("meta"):
        shapes = PosterV2(7).state_dict()
        for name, shape in SHAPES_NOT_READ.items():
            shapes[name] = torch.empty(shape, dtype=torch.long if name.endswith("tracked") else torch.float32)
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


def test_network_and_ignored_tensors_are_the_published_ones(official: State) -> None:
    lines = sorted(f"{name}\t{tuple(tensor.shape)}\t{tensor.dtype}" for name, tensor in official.items())
    assert len(lines) == 747
    assert Counter(name.split(".")[0] for name in official) == TENSORS
    assert sum(name.endswith("num_batches_tracked") for name in official) == 97
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == OFFICIAL_DIGEST
    assert SHAPES_NOT_READ.keys() == NOT_READ and len(NOT_READ) == 24
    parameters = [official[name].numel() for name in NOT_READ if not name.endswith(("_mean", "_var", "_tracked"))]
    assert sum(parameters) == 14_466_637


def test_an_official_checkpoint_loads_whole(model: PosterV2, official: State, tmp_path: Path) -> None:
    clear(model)
    path = tmp_path / "raf-db-model_best.pth"
    extras = {"epoch": 7, "best_acc": torch.tensor(92.21), "optimizer": {"state": {}, "param_groups": [{"lr": 3.5e-5}]}}
    recorders = {"recorder": Recorder(), "recorder1": Recorder()}
    torch.save({"state_dict": prefixed(official, "module."), **extras, **recorders}, path)
    allowed = set(get_safe_globals())
    load_official(model, read_weights(path, str(path)), str(path), head="keep")
    assert_loaded(model, official)
    assert set(get_safe_globals()) == allowed
    assert not any(parameter.requires_grad for parameter in model.face_landback.parameters())


def test_tensors_that_nothing_reads_are_all_there_or_none(model: PosterV2, official: State) -> None:
    clear(model)
    load_official(model, {name: tensor for name, tensor in official.items() if name not in NOT_READ}, head="keep")
    assert_loaded(model, official)
    with pytest.raises(InputError, match=r"1 missing: VIT\.CON1\.weight$"):
        load_official(model, {name: tensor for name, tensor in official.items() if name != "VIT.CON1.weight"})


def test_reset_initializes_the_head_whatever_the_classes_of_the_file(model: PosterV2, official: State) -> None:
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
    "empty": (lambda s: {}, "holds no state_dict"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG.keys())
def test_tensors_that_do_not_fit_are_named_and_nothing_is_loaded(
    model: PosterV2, official: State, change: Callable[[State], State], message: str
) -> None:
    clear(model)
    with pytest.raises(InputError, match=message):
        load_official(model, change(official))
    assert not any(tensor.any() for tensor in model.state_dict().values())


def test_an_unknown_head_policy_is_refused(model: PosterV2, official: State) -> None:
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
    load_mobilefacenet(model, read_weights(path, str(path)), str(path))
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
    with caplog.at_level("INFO"):
        load_ir50(model, read_weights(path, str(path)), str(path))
    own, kept = model.ir_back.state_dict(), {"body3.13.res_layer.1.weight", "input_layer.2.weight"}
    assert all(torch.equal(own[name], weights[name]) for name in own.keys() - kept)
    assert not any(own[name].any() for name in kept)
    not_read = sum(name.startswith("ir_back.") for name in NOT_READ)
    assert f"loaded {len(own) - 2} of {len(own)} tensors of IR-50" in caplog.text
    assert f"{not_read + 2} tensors are not used: " in caplog.text
    assert "2 tensors of IR-50 keep their values: input_layer.2.weight, body3.13.res_layer.1.weight" in caplog.text


def test_ir50_without_any_match_is_refused(model: PosterV2, official: State) -> None:
    with pytest.raises(InputError, match=r"expected names like input_layer\.0\.weight.* got face_landback"):
        load_ir50(model, official)


def test_functions_in_a_file_are_not_called(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "weights.pth"
    torch.save({"state_dict": {"a": torch.ones(1)}, "b": Command(builtins.exec, f"open({str(marker)!r}, 'w')")}, path)
    assert state_dict(read_weights(path, "file"), "file").keys() == {"a"}
    torch.save({"state_dict": {"a": torch.ones(1)}, "b": Command(os.system, f"touch {marker}")}, path)
    with pytest.raises(InputError, match="save its state_dict alone"):
        read_weights(path, "file")
    assert not marker.exists()


def test_files_of_before_torch_1_6(tmp_path: Path) -> None:
    path = tmp_path / "old.pth.tar"
    torch.save({"module.a": torch.arange(3)}, path, _use_new_zipfile_serialization=False)
    assert torch.equal(state_dict(read_weights(path, "file"), "file")["a"], torch.arange(3))
    torch.save({"state_dict": {}, "recorder": Recorder()}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match="save its state_dict alone"):
        read_weights(path, "file")


def test_unreadable_weights_files(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<html>sign in</html>")
    with pytest.raises(InputError, match=r"page\.pth: torch cannot read"):
        read_weights(tmp_path / "page.pth", "page.pth")
    torch.save(Recorder(), tmp_path / "object.pth")
    with pytest.raises(InputError, match=r"object\.pth holds no state_dict"):
        state_dict(read_weights(tmp_path / "object.pth", "object.pth"), "object.pth")
