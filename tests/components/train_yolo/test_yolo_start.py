"""Where a training starts, and what keeps it from starting: said before anything is unpacked."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from yolo_samples import config

from components.shared.training.resumable_folder import LAST, ResumableFolder
from components.train_yolo import record
from components.train_yolo.checkpoint import read_checkpoint
from components.train_yolo.record import BEST, CONFIG
from components.train_yolo.start import Start, find_start
from components.train_yolo.train import YoloResult, train
from serving.runtime.errors import InputError

RAN: list[str] = []


class Evil:
    """Runs code where its pickle is read."""

    def __reduce__(self) -> Any:
        return RAN.append, ("ran",)


def start(folder: Path, **entries: Any) -> Start:
    folder.mkdir(exist_ok=True)
    return find_start(
        ResumableFolder(folder, "", record.EPOCH_FILES), config(folder / "models", **entries), "x", folder
    )


HEAD = "head:\n  - [[0], 1, Detect, [nc]]"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"backbone:\n  - [-1, 1, Convv, [8, 3, 2]]\n{HEAD}", "KeyError: 'Convv'"),
        (f"activation: foo()\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\n{HEAD}", "foo"),
        (f"backbone:\n  - [-1, 1, Conv, [8, three, 2]]\n{HEAD}", "Error: "),
        (f"backbone:\n  - [-1, 1, Conv, [8, 3, 2]]\n{HEAD.replace('[0]', '[7]')}", "IndexError"),
    ],
    ids=["layer", "activation", "argument", "index"],
)
def test_a_description_that_cannot_be_built_is_one_message(content: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(f"nc: 1\n{content}")
    with pytest.raises(InputError, match=r"own.yaml does not describe a network that can be built: ") as error:
        start(tmp_path / "out", model=str(tmp_path / "own.yaml"))
    assert reason in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (1000, "there is no layer 6; the network has the layers 0 to 5"),
        (6, "leaves nothing to train of a network with 6 layers"),
        ([0, 77], "there is no layer 77"),
        (["5.cv9"], "there is no layer 5.cv9"),
    ],
)
def test_layers_to_freeze_exist(freeze: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        start(tmp_path, freeze=freeze)


@pytest.mark.parametrize("freeze", [0, 5, [0, 1, "5.cv2"]])
def test_some_layers_may_be_frozen(freeze: Any, tmp_path: Path) -> None:
    assert start(tmp_path, freeze=freeze).checkpoint is None


@pytest.fixture(scope="module")
def epochs(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training of two epochs has written after each, in folders 1 and 2: LAST, BEST and CONFIG."""
    folder = tmp_path_factory.mktemp("epochs")
    saved = record.Recorder.saved

    def copied(self: record.Recorder, trainer: Any) -> None:
        saved(self, trainer)
        (folder / str(trainer.epoch + 1)).mkdir()
        for name in (LAST, BEST, CONFIG):
            shutil.copyfile(self.folder.path / name, folder / str(trainer.epoch + 1) / name)
        if trainer.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as patch:
        patch.setattr(record.Recorder, "saved", copied)
        go(dataset, folder / "out", config(folder / "models", optimizer="SGD", lr=0.01))
    return folder


def go(dataset: Path, output: Path, options: Any) -> YoloResult:
    return train(
        options,
        dataset / "images",
        dataset / "annotations.json",
        output,
        output.with_name(f"{output.name}-onnx"),
        name="faces",
    )


def interrupt() -> None:
    raise KeyboardInterrupt


def test_a_best_epoch_after_the_last_one_is_the_last_one(epochs: Path, tmp_path: Path) -> None:
    """The process was killed between the two copies to `state`."""
    content = read_checkpoint(epochs / "1" / LAST)
    content["best_fitness"] = 2.0  # an earlier epoch was better
    torch.save(content, tmp_path / LAST)
    shutil.copyfile(epochs / "2" / LAST, tmp_path / BEST)
    shutil.copyfile(epochs / "2" / CONFIG, tmp_path / CONFIG)
    found = start(tmp_path)
    assert found.epoch == 2
    assert (tmp_path / LAST).read_bytes() == (tmp_path / BEST).read_bytes() == (epochs / "2" / LAST).read_bytes()


def test_what_is_wrong_with_a_training_to_continue_names_it(epochs: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"

    def said() -> str:
        with pytest.raises(InputError) as error:
            start(tmp_path / "out", resume=str(earlier), optimizer="SGD", lr=0.01)
        assert not (tmp_path / "out" / LAST).exists()
        return str(error.value)

    earlier.mkdir()
    (earlier / LAST).write_bytes(b"")
    assert said().startswith(f"resume: {earlier}: last.pt: is no checkpoint")
    shutil.copyfile(epochs / "1" / LAST, earlier / LAST)
    assert said() == f"resume: {earlier}: there is no config.json beside last.pt; name a folder that train_yolo wrote"
    for text in ("{", "[]", "{}"):
        (earlier / CONFIG).write_text(text)
        assert said().startswith(f"resume: {earlier}: config.json ")


def test_checkpoints_of_an_earlier_training_run_no_code(epochs: Path, dataset: Path, tmp_path: Path) -> None:
    """Neither when they are read here, nor when ultralytics strips them at the end."""
    earlier = tmp_path / "earlier"
    shutil.copytree(epochs / "1", earlier)
    content = read_checkpoint(earlier / LAST)
    torch.save(content | {"best_fitness": 2.0}, earlier / LAST)
    torch.save(content | {"extra": Evil()}, earlier / BEST)
    options: dict[str, Any] = {"optimizer": "SGD", "lr": 0.01, "model": str(epochs / "models/detector.yaml")}
    for trust in (False, True):
        with pytest.raises(InputError, match=rf"resume: {earlier}: best.pt: is no checkpoint of ultralytics that can"):
            go(dataset, tmp_path / "out", config(tmp_path, resume=str(earlier), trust_weights=trust, **options))
    assert not RAN and not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


def test_a_finished_training_reads_only_what_it_wrote_itself(
    epochs: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ultralytics strips best.pt, and last.pt where there is one, without its allow-list."""
    read: list[Path] = []
    load = torch.load

    def watched(file: Any, *arguments: Any, weights_only: bool | None = None, **more: Any) -> Any:
        if weights_only is False:
            read.append(Path(file))
        return load(file, *arguments, weights_only=weights_only, **more)

    options = config(tmp_path / "models", optimizer="SGD", lr=0.01, model=str(epochs / "models/detector.yaml"))
    monkeypatch.setattr(torch, "load", watched)
    monkeypatch.setattr("components.train_yolo.train.export", lambda *_arguments, **_options: interrupt())
    state = tmp_path / "state"
    facts = json.loads((epochs / "2" / CONFIG).read_text())
    shutil.copytree(epochs / "2", state / facts["training_digest"][:16])
    with pytest.raises(KeyboardInterrupt):
        go(dataset, tmp_path / "out", options.model_copy(update={"state": str(state)}))
    assert {path.name for path in read} == {"best.pt"} and not {"out", "state"} & {path.parent.name for path in read}
