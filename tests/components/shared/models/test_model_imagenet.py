"""ImageNet weights: downloaded, mirrored, or one clear error."""

import hashlib
import http.server
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrained_samples import MASK, NORMALIZATION, State, build, loaded
from torch import nn
from torchvision.models import get_model, get_model_weights

from components.shared.models.network import build_network
from components.shared.models.pretrained import _download
from components.shared.models.spec import resolve_model
from serving.runtime.errors import InputError


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
def test_without_a_proxy_it_fails_quickly_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_names_of_old_files_and_another_image_size(torch_home: Path) -> None:
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
def test_auxiliary_heads_are_ignored_and_old_densenet_names_renamed(torch_home: Path) -> None:
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
    _download(f"{server}/{name}", tmp_path / "hub" / name)
    assert (tmp_path / "hub" / name).read_bytes() == b"weights" * 1000
    with pytest.raises(OSError, match="not one that begins with 00000000"):
        _download(f"{server}/net-00000000.pth", tmp_path / "hub" / "net-00000000.pth")
    with pytest.raises(OSError, match="404"):
        _download(f"{server}/absent.pth", tmp_path / "hub" / "absent.pth")
    assert [path.name for path in (tmp_path / "hub").iterdir()] == [name]
