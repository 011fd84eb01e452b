import pickle
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
import torch

from components.shared.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint, save_checkpoint
from components.shared.models.network import build_network
from components.shared.models.spec import resolve_model
from serving.runtime.card import CropRule, Head, InputSize, Normalization
from serving.runtime.errors import InputError, NotFoundError

HEADS = (Head(name="gender", labels=("male", "female")),)
NORMALIZATION = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
MODEL = resolve_model(
    "base", {"head": {"kind": "dropout", "dropout": 0.2}, "freeze": ["features.0"], "pretrained": "/not/there.pt"}
)


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(
        model=MODEL,
        label_space="gender",
        heads=HEADS,
        input=InputSize(height=32, width=24),
        crop=CropRule(scale=1.5),
        normalization=NORMALIZATION,
        model_state=build_network(MODEL, HEADS, NORMALIZATION, load_pretrained=False).state_dict(),
        ema_state=None,
        config={"epochs": 3, "augmentation": {"name": "face", "arguments": {"scale": [0.5, 1.0]}}},
        epoch=3,
        metrics={"val_f1": 0.25},
        dataset_digest="d" * 64,
        training_digest="t" * 64,
        leaks=True,
        run_id="run",
        versions={"torch": "1"},
    )


def test_round_trip(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path / "best.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]
    found = load_checkpoint(tmp_path / "best.pt")
    for field in fields(Checkpoint):
        if field.name != "model_state":
            assert getattr(found, field.name) == getattr(checkpoint, field.name), field.name
    assert found.model_state.keys() == checkpoint.model_state.keys()
    network = found.network()
    assert not network.training
    assert all(torch.equal(value, checkpoint.model_state[name]) for name, value in network.state_dict().items())


def test_the_moving_average_is_used_where_there_is_one(checkpoint: Checkpoint) -> None:
    average = {name: torch.zeros_like(value) for name, value in checkpoint.model_state.items()}
    network = replace(checkpoint, ema_state=average).network()
    assert not network.state_dict()["backbone.fc.1.weight"].any()
    assert checkpoint.network().state_dict()["backbone.fc.1.weight"].any()


class Boom:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code from a checkpoint was run",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_foreign_files_are_refused_and_run_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.pt").write_text("no checkpoint")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Boom()))
    torch.save(Boom(), tmp_path / "boom.pt")
    torch.save({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    torch.save({"format_version": 2, "model": {"backbone": "base"}}, tmp_path / "part.pt")
    for name in ("text", "pickle", "boom", "other", "part"):
        with pytest.raises(InputError, match=f"{name}.pt is not a") as refused:
            load_checkpoint(tmp_path / f"{name}.pt")
        assert len(str(refused.value).removeprefix(str(tmp_path))) < 250 and "\n" not in str(refused.value)
    assert "code from" not in capsys.readouterr().out


@pytest.mark.parametrize("allowed", [False, True], ids=["unknown to torch", "on torch's list"])
def test_a_checkpoint_of_ultralytics_is_named(tmp_path: Path, allowed: bool) -> None:
    module = ModuleType("ultralytics.nn.tasks")
    kind = type("DetectionModel", (), {"__module__": module.__name__})
    module.DetectionModel = kind  # type: ignore[attr-defined]
    with mock.patch.dict(sys.modules, {"ultralytics": module, "ultralytics.nn": module, module.__name__: module}):
        torch.save({"ema": kind()}, tmp_path / "best.pt")
    with torch.serialization.safe_globals([kind] if allowed else []), pytest.raises(InputError) as refused:
        load_checkpoint(tmp_path / "best.pt")
    assert "it was written by train_yolo" in str(refused.value) and "export-yolo makes another" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_error_for_format_1_says_what_to_do(tmp_path: Path) -> None:
    torch.save({"format_version": 1, "model": "base", "heads": []}, tmp_path / "old.pt")
    with pytest.raises(
        InputError, match=r"not a checkpoint of format 3: it has format 1\. Train again .* 'pretrained'"
    ):
        load_checkpoint(tmp_path / "old.pt")


def test_the_error_names_an_unknown_backbone(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(checkpoint, tmp_path / "best.pt")
    values = torch.load(tmp_path / "best.pt", weights_only=True)
    assert type(values["model"]) is dict
    torch.save(values | {"model": {"backbone": "future_net"}}, tmp_path / "best.pt")
    with pytest.raises(InputError, match="(?s)best.pt is not a complete checkpoint.*unknown backbone 'future_net'"):
        load_checkpoint(tmp_path / "best.pt")


def test_a_cut_file_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    save_checkpoint(checkpoint, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is not a checkpoint"):
        load_checkpoint(path)


def test_a_changed_byte_is_noticed(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    save_checkpoint(checkpoint, path)
    content = path.read_bytes()
    noticed = 0
    for position in range(50, len(content), len(content) // 100):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        try:
            same = load_checkpoint(path)
        except InputError as error:
            noticed += str(path) in str(error)
        else:  # a byte of the archive itself, such as padding
            for name, tensor in checkpoint.model_state.items():
                assert torch.equal(same.model_state[name], tensor)
    assert noticed > 80


def test_a_missing_name_lists_those_present(tmp_path: Path) -> None:
    for name in ("last", "best", "epoch_3"):
        (tmp_path / f"{name}.pt").touch()
    assert find_checkpoint(tmp_path, "epoch_3") == tmp_path / "epoch_3.pt"
    with pytest.raises(NotFoundError, match=r"no checkpoint 'worst'.*present: best, epoch_3, last"):
        find_checkpoint(tmp_path, "worst")
    with pytest.raises(NotFoundError, match="present: none"):
        find_checkpoint(tmp_path / "absent", "best")
