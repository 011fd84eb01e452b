"""First weights: where they come from, what must fit, what happens to files that do not."""

import hashlib
import http.server
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import get_model, get_model_weights

from components.shared.models.checkpoint import Checkpoint, save_checkpoint
from components.shared.models.imagenet import _fetch
from components.shared.models.network import Network, build_network
from components.shared.models.spec import resolve_model
from serving.runtime.card import CropRule, Head, InputSize, Normalization
from serving.runtime.errors import InputError, StorageError
from serving.runtime.storage import make_bucket, upload

GENDER = (Head(name="gender", labels=("male", "female")),)
MASK = (Head(name="mask", labels=("worn", "incorrect", "absent")),)
NORMALIZATION = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
State = dict[str, torch.Tensor]


def build(pretrained: object, heads: tuple[Head, ...] = MASK, model: str = "base", **changes: Any) -> Network:
    return build_network(resolve_model(model, {"pretrained": str(pretrained), **changes}), heads, NORMALIZATION)


def base_state(outputs: int = 3, seed: int = 5) -> State:
    """Weights of the small network under plain names, none of which are those of a fresh one."""
    from components.shared.models.base_cnn import BaseCnn

    torch.manual_seed(seed)
    model = BaseCnn(outputs).train()
    model(torch.randn(4, 3, 16, 16))
    return model.state_dict()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save(base_state(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def loaded(network: Network, state: State, prefix: str = "backbone.") -> bool:
    own = network.state_dict()
    return all(torch.equal(own[prefix + name], value) for name, value in state.items())


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    network = build("none", MASK)
    average = {name: value + 1 for name, value in network.state_dict().items()}
    save_checkpoint(
        Checkpoint(
            model=resolve_model("base"),
            label_space="mask",
            heads=MASK,
            input=InputSize(height=32, width=24),
            crop=CropRule(),
            normalization=NORMALIZATION,
            model_state=network.state_dict(),
            ema_state=average,
            config={},
            epoch=1,
            metrics={},
            dataset_digest="d",
            training_digest="t",
            leaks=False,
            run_id="",
            versions={},
        ),
        tmp_path / "best.pt",
    )
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
def test_wrapped_and_prefixed(tmp_path: Path, wrap: Any, prefix: str) -> None:
    torch.save(wrap({prefix + name: value for name, value in base_state().items()}), tmp_path / "w.pth")
    assert loaded(build(tmp_path / "w.pth"), base_state())


def test_a_head_of_another_shape_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(base_state(18), tmp_path / "w.pt")
    with caplog.at_level(logging.WARNING):
        network = build(tmp_path / "w.pt")
    state = base_state(18)
    body = {name: value for name, value in state.items() if not name.startswith("fc.")}
    assert loaded(network, body) and network.get_parameter("backbone.fc.weight").shape == (3, 128)
    assert "not loaded, since the head is another one: fc.bias, fc.weight" in caplog.text


def test_a_head_of_other_layers_is_left_out(weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    network = build(weights, head={"kind": "hidden", "hidden": 5})
    assert network.get_parameter("backbone.fc.0.weight").shape == (5, 128)
    assert "fc.0.bias" in caplog.text and "fc.bias" in caplog.text and "and 1 more" in caplog.text


def test_kept_classes_take_the_old_head(tmp_path: Path) -> None:
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


def test_a_checkpoint_is_rebuilt_without_its_first_weights(checkpoint: Path) -> None:
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


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "garbage.pt").write_bytes(b"\x80garbage" * 100)
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": 1}, tmp_path / "numbers.pt")
    for name in ("garbage", "module"):
        with pytest.raises(InputError, match=f"{name}.pt is not a file of weights"):
            build(tmp_path / f"{name}.pt")
    for name in ("list", "numbers"):
        with pytest.raises(InputError, match=f"{name}.pt holds no state_dict"):
            build(tmp_path / f"{name}.pt")
    with pytest.raises(InputError, match="there is no file .*absent.pt"):
        build(tmp_path / "absent.pt")


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TORCH_HOME, and no way out to any network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    return tmp_path / "torch" / "hub" / "checkpoints"


def mirror(folder: Path, model: str, state: State) -> None:
    folder.mkdir(parents=True)
    torch.save(state, folder / Path(get_model_weights(model).DEFAULT.url).name)


def test_a_download_that_fails_is_one_quick_error(torch_home: Path) -> None:
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        build("imagenet", model="ResNet18")
    assert time.monotonic() - start < 30
    message = str(caught.value)
    for part in ("https://download.pytorch.org/models/resnet18-", str(torch_home), "TORCH_HOME", "s3://", "ImageNet"):
        assert part in message, message
    assert not list(torch_home.iterdir())


@pytest.mark.slow
def test_without_a_proxy_it_is_quick_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the network is like here: the answer comes soon, as weights or as one error."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    start = time.monotonic()
    try:
        build("imagenet", model="squeezenet1_1")
    except InputError as error:
        assert "could not be downloaded" in str(error)
    assert time.monotonic() - start < 120


def test_mirrored_imagenet_weights_are_found(torch_home: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(7)
    state = get_model("resnet18", weights=None).state_dict()
    mirror(torch_home, "resnet18", state)
    body = {name: value for name, value in state.items() if not name.startswith("fc.")}
    network = build("imagenet", model="ResNet18MSD")
    assert loaded(network, body)
    assert torch.equal(network.get_parameter("backbone.fc.0.weight"), state["fc.weight"])
    assert loaded(build("imagenet", model="CustomModel_Arc"), body)
    assert "not loaded" not in caplog.text


def test_squeezenet_keeps_or_loses_its_last_convolution(torch_home: Path) -> None:
    state = get_model("squeezenet1_1", weights=None).state_dict()
    mirror(torch_home, "squeezenet1_1", state)
    assert loaded(build("imagenet", model="squeezenet1_1", keep_classes=True), state)
    body = {name: value for name, value in state.items() if name.startswith("features")}
    assert loaded(build("imagenet", model="squeezenet1_1"), body)


def test_names_of_old_files_and_another_picture_size(torch_home: Path) -> None:
    small = {"patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    from torchvision.models import VisionTransformer

    state = VisionTransformer(image_size=32, **small).state_dict()
    nn.init.normal_(state["encoder.pos_embedding"])
    old = OrderedDict(
        (name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."), value)
        for name, value in state.items()
    )
    assert old.keys() != state.keys()
    torch_home.mkdir(parents=True)
    torch.save(old, torch_home / "vit.pth")
    arguments = {"dim": 8, "depth": 1, "heads": 2, "mlp_dim": 16, "patch_size": 8, "image_size": 48}
    network = build(torch_home / "vit.pth", model="vit_scratch", arguments=arguments)
    found = network.get_parameter("backbone.encoder.pos_embedding")
    assert found.shape == (1, 37, 8) and torch.equal(found[:, 0], state["encoder.pos_embedding"][:, 0])
    same = {name: value for name, value in state.items() if "pos_embedding" not in name and "heads" not in name}
    assert loaded(network, same)


def test_imagenet_is_torchvisions(torch_home: Path) -> None:
    with pytest.raises(InputError, match="no ImageNet weights of backbone 'base'"):
        build("imagenet")


@pytest.mark.slow
def test_auxiliary_heads_and_old_densenet_names_are_passed_over(torch_home: Path) -> None:
    inception = get_model("inception_v3", weights=None, init_weights=True).state_dict()
    mirror(torch_home, "inception_v3", inception)
    network = build("imagenet", model="Inception")
    kept = {name: value for name, value in inception.items() if not name.startswith(("AuxLogits.", "fc."))}
    assert loaded(network, kept)
    assert network.backbone.transform_input is True
    spec = resolve_model("Inception")
    assert build_network(spec, MASK, NORMALIZATION, load_pretrained=False).backbone.transform_input is True
    densenet = get_model("densenet121", weights=None).state_dict()
    old = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value for name, value in densenet.items()
    }
    assert old.keys() != densenet.keys()
    torch.save(old, torch_home / Path(get_model_weights("densenet121").DEFAULT.url).name)
    body = {name: value for name, value in densenet.items() if not name.startswith("classifier.")}
    assert loaded(build("imagenet", model="densenet121"), body)


@pytest.mark.slow
def test_poster_v2_by_its_authors_file_and_by_parts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from components.shared.models.poster_v2.model import PosterV2
    from components.shared.models.poster_v2.unused import UNUSED

    torch.manual_seed(3)
    state = PosterV2(7, keep_unused=True).state_dict()
    file = {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}
    torch.save(file, tmp_path / "official.pth")
    emotions = (Head(name="emotion", labels=tuple("abcdefg")),)
    network = build(tmp_path / "official.pth", emotions, model="poster_v2")
    body = {name: value for name, value in state.items() if name not in UNUSED and not name.startswith("VIT.head.")}
    assert len(body) == 747 - len(UNUSED) - 2 and loaded(network, body)
    head = network.get_parameter("backbone.VIT.head.linear.weight")
    assert head.shape == (7, 768) and not torch.equal(head, state["VIT.head.linear.weight"])  # other emotions
    assert "not loaded" in caplog.text
    stream = {name.removeprefix("ir_back."): value for name, value in state.items() if name.startswith("ir_back.")}
    torch.save(stream, tmp_path / "ir50.pth")
    parted = build("none", emotions, model="poster_v2", parts={"ir50": str(tmp_path / "ir50.pth")})
    assert torch.equal(
        parted.state_dict()["backbone.ir_back.body1.0.res_layer.1.weight"], stream["body1.0.res_layer.1.weight"]
    )
    with pytest.raises(InputError, match="no part 'head'.*known: ir50, mobilefacenet"):
        build("none", emotions, model="poster_v2", parts={"head": __file__})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    data = b"weights" * 1000
    (folder / f"net-{hashlib.sha256(data).hexdigest()[:8]}.pth").write_bytes(data)
    (folder / "net-00000000.pth").write_bytes(data)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def test_a_download_is_checked_and_appears_whole(server: str, tmp_path: Path) -> None:
    name = f"net-{hashlib.sha256(b'weights' * 1000).hexdigest()[:8]}.pth"
    _fetch(f"{server}/{name}", tmp_path / "hub" / name)
    assert (tmp_path / "hub" / name).read_bytes() == b"weights" * 1000
    with pytest.raises(OSError, match="not one that begins with 00000000"):
        _fetch(f"{server}/net-00000000.pth", tmp_path / "hub" / "net-00000000.pth")
    with pytest.raises(OSError, match="404"):
        _fetch(f"{server}/absent.pth", tmp_path / "hub" / "absent.pth")
    assert [path.name for path in (tmp_path / "hub").iterdir()] == [name]


def test_parts_are_named() -> None:
    with pytest.raises(InputError, match="backbone 'base' has no part 'ir50' with weights of its own; known: none"):
        build("none", parts={"ir50": __file__})
