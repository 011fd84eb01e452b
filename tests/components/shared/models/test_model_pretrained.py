"""Pretrained weights from a file: what must fit, and what happens otherwise."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bare_checkpoints import bare_checkpoint
from pretrained_samples import MASK, base_state, build, loaded
from torch import nn

from components.shared.models.checkpoint import save_checkpoint
from components.shared.models.spec import resolve_model
from serving.runtime.card import Head
from serving.runtime.errors import InputError, StorageError
from serving.runtime.storage import make_bucket, upload


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(base_state(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    network = build("none", MASK)
    average = {name: value + 1 for name, value in network.state_dict().items()}
    saved = bare_checkpoint(resolve_model("base"), network, MASK, "mask", (32, 24), ema_state=average)
    save_checkpoint(saved, tmp_path / "best.pt")
    return tmp_path / "best.pt"


def test_a_state_dict_by_path(weights: Path) -> None:
    assert loaded(build(weights), base_state())
    assert not loaded(build("none"), base_state())


def test_s3(s3: Any, weights: Path) -> None:
    make_bucket("weights")
    upload(weights, "s3://weights/base.pt")
    assert loaded(build("s3://weights/base.pt"), base_state())
    with pytest.raises(StorageError, match="s3://weights/absent.pt"):
        build("s3://weights/absent.pt")


@pytest.mark.parametrize("wrap", [lambda state: {"state_dict": state, "epoch": 3}, lambda state: {"model": state}])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone."])
def test_wrapped_and_prefixed_state_dicts(tmp_path: Path, wrap: Any, prefix: str) -> None:
    torch.save(wrap({prefix + name: value for name, value in base_state().items()}), tmp_path / "w.pth")
    assert loaded(build(tmp_path / "w.pth"), base_state())


def test_a_head_of_another_shape_is_not_loaded_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(base_state(18), tmp_path / "w.pt")
    with caplog.at_level(logging.WARNING):
        network = build(tmp_path / "w.pt")
    state = base_state(18)
    body = {name: value for name, value in state.items() if not name.startswith("fc.")}
    assert loaded(network, body) and network.get_parameter("backbone.fc.weight").shape == (3, 128)
    assert "the head differs and was not loaded: fc.bias, fc.weight" in caplog.text


def test_a_head_of_other_layers_is_not_loaded(weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = build(weights, head={"kind": "hidden", "hidden": 5})
    assert network.get_parameter("backbone.fc.0.weight").shape == (5, 128)
    assert "fc.0.bias" in caplog.text and "fc.bias" in caplog.text and "and 1 more" in caplog.text


def test_kept_classes_load_the_published_head(tmp_path: Path) -> None:
    torch.save(base_state(1000), tmp_path / "w.pt")
    network = build(tmp_path / "w.pt", keep_classes=True)
    assert torch.equal(network.get_parameter("backbone.fc.0.weight"), base_state(1000)["fc.weight"])
    torch.save(base_state(3), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"of another shape: fc.0.weight \(3, 128\) instead of \(1000, 128\)"):
        build(tmp_path / "w.pt", keep_classes=True)


def test_a_checkpoint_gives_its_evaluated_weights(checkpoint: Path) -> None:
    average = torch.load(checkpoint, weights_only=True)["ema_state"]
    assert loaded(build(checkpoint), average, prefix="")


def test_a_checkpoint_for_other_labels_gives_no_head(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same shape is not the same meaning."""
    others = (replace_labels(MASK[0], ("a", "b", "c")),)
    network = build(checkpoint, others)
    average = torch.load(checkpoint, weights_only=True)["ema_state"]
    assert not torch.equal(network.get_parameter("backbone.fc.weight"), average["backbone.fc.weight"])
    assert loaded(network, {name: value for name, value in average.items() if "fc" not in name}, prefix="")
    assert "not loaded" in caplog.text


def replace_labels(head: Head, labels: tuple[str, ...]) -> Head:
    return Head(name=head.name, labels=labels)


def test_a_checkpoint_is_rebuilt_without_its_pretrained_weights(checkpoint: Path) -> None:
    from components.shared.models.checkpoint import load_checkpoint

    source = load_checkpoint(checkpoint)
    gone = replace(source, model=resolve_model("base", {"pretrained": "/nowhere/any.pt"}))
    assert loaded(gone.network(), source.ema_state or {}, prefix="")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.0.0.weight"), "1 missing: features.0.0.weight"),
        (lambda state: state.update(extra=torch.zeros(1)), "1 unknown: extra"),
        (
            lambda state: state.update({"features.0.0.weight": torch.zeros(32, 3, 5, 5)}),
            r"1 of another shape: features.0.0.weight \(32, 3, 5, 5\) instead of \(32, 3, 7, 7\)",
        ),
    ],
)
def test_everything_but_the_head_must_fit(tmp_path: Path, change: Any, message: str) -> None:
    state = base_state()
    change(state)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InputError, match=f"w.pt does not hold weights of 'base'. Tensors {message}"):
        build(tmp_path / "w.pt")


def test_files_without_weights(tmp_path: Path) -> None:
    (tmp_path / "garbage.pt").write_bytes(b"\x80garbage" * 100)
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": 1}, tmp_path / "numbers.pt")
    with pytest.raises(InputError, match=r"garbage\.pt: torch cannot read weights"):
        build(tmp_path / "garbage.pt")
    for name in ("module", "list", "numbers"):
        with pytest.raises(InputError, match=f"{name}.pt holds no state_dict"):
            build(tmp_path / f"{name}.pt")
    with pytest.raises(InputError, match="there is no file .*absent.pt"):
        build(tmp_path / "absent.pt")


@pytest.mark.slow
def test_poster_v2_by_its_authors_file_and_by_parts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from components.shared.models.poster_v2_weights import NOT_READ
    from components.shared.models.zoo.poster_v2.model import PosterV2

    torch.manual_seed(3)
    state = PosterV2(7).state_dict() | {name: torch.zeros(1) for name in NOT_READ}
    file = {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}
    torch.save(file, tmp_path / "official.pth")
    emotions = (Head(name="emotion", labels=tuple("abcdefg")),)
    network = build(tmp_path / "official.pth", emotions, model="poster_v2")
    body = {name: value for name, value in state.items() if name not in NOT_READ and not name.startswith("VIT.head.")}
    assert len(body) == 747 - len(NOT_READ) - 2 and loaded(network, body)
    head = network.get_parameter("backbone.VIT.head.linear.weight")
    assert head.shape == (7, 768) and not torch.equal(head, state["VIT.head.linear.weight"])  # other emotions
    assert "was not loaded" in caplog.text
    stream = {name.removeprefix("ir_back."): value for name, value in state.items() if name.startswith("ir_back.")}
    torch.save(stream, tmp_path / "ir50.pth")
    parted = build("none", emotions, model="poster_v2", parts={"ir50": str(tmp_path / "ir50.pth")})
    assert torch.equal(
        parted.state_dict()["backbone.ir_back.body1.0.res_layer.1.weight"], stream["body1.0.res_layer.1.weight"]
    )
    with pytest.raises(InputError, match="no part 'head'.*known: ir50, mobilefacenet"):
        build("none", emotions, model="poster_v2", parts={"head": __file__})


def test_parts_are_named() -> None:
    with pytest.raises(InputError, match="backbone 'base' has no part 'ir50' with weights of its own; known: none"):
        build("none", parts={"ir50": __file__})
