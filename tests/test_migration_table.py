"""docs/migration.md: every option that people had is in it, and every name of ours in it exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from components.shared.models.spec import RECIPES
from components.train_classifier.config.augmentation import presets
from components.train_classifier.config.objective import LOSSES
from components.train_classifier.config.training import TrainConfig
from pipelines.catalog import PIPELINES
from pipelines.command.config import CONFIGS, resolve
from pipelines.command.main import app
from pipelines.command.step import step_app

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "migration.md"

OPTIONS = {
    "Emotion: `run.py`": """
        -run --run-type train infer eval -type --config-type -cfg --config-path info.project_name info.model_name
        info.model_task info.data_root_dir train.epochs train.batch train.imgsz train.device train.optimizer sgd adam
        adamw train.optimizer_params train.seed train.dropout train.loss_fn train.lr_scheduler coslr steplr
        train.lr_scheduler_params T_max eta_min step_size gamma last_epoch lrf lr lr0 weight_decay momentum
        train.pretrained train.conf train.cls train.num_workers infer.src_dir infer.pretrained infer.infer_type
        infer.infer_task infer.save_mode gray color heatmap""",
    "Emotion: `detect_face.py`": """
        --dir-option --src-data-path --dst-data-path --bbox-data-path --weights-path --target-size --padding-option
        --padding-scale failed_detect_files.json""",
    "Emotion: `main_poster.py`": """
        --data --data_type --checkpoint_path --best_checkpoint_path -j --workers --epochs --start-epoch -b --batch-size
        --optimizer --lr --momentum --wd --weight-decay -p --print-freq --resume -e --evaluate --beta --gpu""",
    "Mask, gender, age": """
        seed epochs batch_size valid_batch_size dataset output augmentation resize model dropout use_sigmoid criterion
        optimizer lr weight_decay scheduler lr_decay_step warmup_ratio min_ratio total_epochs mean std
        pass_calc_statistics use_PIL best_criterion log_interval name user experiment mode val_ratio n_splits k_index
        arc_scale arc_margin kfoldvalidation patience data_dir model_dir csv_path MLproject --state --model_dir
        --batch_size --dataset --resize --model --output_dir --tta --isEnsemble""",
    "Environment": """
        SM_CHANNEL_TRAIN SM_MODEL_DIR SM_CHANNEL_EVAL SM_CHANNEL_MODEL SM_OUTPUT_DATA_DIR SM_GROUND_TRUTH_DIR""",
}


def rows() -> Iterator[tuple[str, str, str]]:
    """Section, left cell and right cell of every row."""
    section = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            section = line.strip("# ")
        elif line.startswith("|") and not line.startswith("|---"):
            left, right = line.strip("|").split(" | ")
            yield section, left.strip(), right.strip()


def spans(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


OURS = sorted({span for _, _, right in rows() for span in spans(right)})


@pytest.mark.parametrize("section", OPTIONS)
def test_every_option_is_answered(section: str) -> None:
    answered = {span for name, left, right in rows() if name == section and right for span in spans(left)}
    assert set(OPTIONS[section].split()) <= answered


def test_every_model_loss_and_augmentation_is_named() -> None:
    settings = [value for span in OURS if isinstance(value := yaml.safe_load(span), dict)]
    # Models of our own beside those that people had.
    own = {"resnet101_linear_probe", "resnet152_linear_probe"}
    assert {setting.get("model") for setting in settings} >= set(RECIPES) - own
    trainings = [setting.get("training", {}) for setting in settings]
    assert {training.get("augmentation") for training in trainings} >= set(presets())
    losses = [training.get("objective", {}).get("loss", {}) for training in trainings]
    assert {loss if isinstance(loss, str) else loss.get("name") for loss in losses} >= set(LOSSES)


@pytest.mark.parametrize("span", OURS)
def test_what_the_table_names_exists(span: str, tmp_path: Path) -> None:
    for weights in re.findall(r"weights/([\w.]+)", span):
        (tmp_path / weights).touch()
    value = yaml.safe_load(span.replace("weights/", f"{tmp_path}/"))
    if isinstance(value, dict):
        resolve("", [f"{name}={yaml.safe_dump(entry, default_flow_style=True)}" for name, entry in value.items()], {})
    elif span.startswith("facet "):
        check_command(shlex.split(span)[1:])
    elif span.startswith("make "):
        assert f"\n{span.removeprefix('make ')}: " in (ROOT / "Makefile").read_text()
    elif span.startswith("CONFIG="):
        assert (CONFIGS / f"{span.removeprefix('CONFIG=')}.yaml").is_file()
    elif span.isupper():
        assert f"`{span}`" in (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    elif re.fullmatch(r"(Train|Val)/\w+|\w+\.(pt|json)", span):
        name = span.removesuffix(".pt").partition("/")[2] or span.removesuffix(".pt")
        files = (ROOT / "components" / "train_classifier").rglob("*.py")
        assert any(re.search(rf"\b{re.escape(name)}\b", file.read_text()) for file in files)
    elif "/" in span or span == "MLproject":
        assert span == ".facet/runs" or (ROOT / span).exists()
    else:
        check_key(span)


def check_command(words: list[str]) -> None:
    command, *options = words[1:] if words[0] == "step" else words
    shown = CliRunner().invoke(step_app() if words[0] == "step" else app, [command, "--help"])
    assert shown.exit_code == 0
    for option in options:
        assert re.search(rf"{option}\b", shown.output), f"{command} has no {option}"


def check_key(key: str) -> None:
    fields: dict[str, Any] = {name: None for entry in PIPELINES.values() for name in entry.config.model_fields}
    entries = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]["main"]["parameters"]
    fields |= entries | {f"training.{name}": None for name in TrainConfig.model_fields}
    assert key in fields, f"{key} is no key of a config"
