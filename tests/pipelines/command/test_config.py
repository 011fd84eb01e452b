"""Configs: everything is checked before anything starts, and every problem is one line that says where and what."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.train_classifier.config.training import TrainConfig
from pipelines.classification import ClassificationConfig
from pipelines.command.config import CONFIGS, resolve
from pipelines.parameters.model import SHARED
from pipelines.parameters.training import missing_packages
from serving.runtime.errors import InputError


def problems(tmp_path: Path, text: str, *parameters: str, environment: dict[str, str] | None = None) -> list[str]:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        resolve(str(file), parameters, environment or {})
    return str(caught.value).replace(str(file), "FILE").splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # unknown keys, at every depth
        (
            "epoch: 3",
            "FILE: epoch = 3: unknown key, did you mean 'epochs'?; known: batch_size, calibration_faces, checkpoint,",
        ),
        ("zzz: 3", "FILE: zzz = 3: unknown key; known: batch_size,"),
        (
            "training: {ema_decai: 1}",
            "FILE: training.ema_decai = 1: unknown key, did you mean 'ema_decay'?; known: accumulate, age_thresh",
        ),
        (
            "training: {augmentation: {arguments: {flp: 1}}}",
            "FILE: training.augmentation.arguments.flp = 1: unknown key, did you mean 'flip'?; known: as",
        ),
        ("training: {mixing: {nam: mixup}}", "FILE: training.mixing.nam = 'mixup': unknown key, did you mean 'name'?"),
        (
            "training: {early_stopping: {pacience: 1}}",
            "FILE: training.early_stopping.pacience = 1: unknown key, did you",
        ),
        (
            "training: {objective: {heads: {gender: {nam: bce}}}}",
            "FILE: training.objective.heads.gender.nam = 'bce': unknown key",
        ),
        (
            "ingest_options: {max_drop: 1}",
            "FILE: ingest_options.max_drop = 1: unknown key, did you mean 'max_dropped'?",
        ),
        ("split_options: {mod: all}", "FILE: split_options.mod = 'all': unknown key, did you mean 'mode'?; known: fol"),
        (
            "curation: [{drop_ages: {ranges: [[1, 2]], kep: 1}}]",
            "FILE: curation.0.drop_ages.kep = 1: unknown key, did you mean 'keep'?",
        ),
        ("pipelin: x", "FILE: pipelin = 'x': unknown key, did you mean 'pipeline'?; known: batch_size, calibration_fa"),
        # unknown names
        (
            "pipeline: classify",
            "FILE: pipeline = 'classify': unknown pipeline, did you mean 'classification'?; known: ",
        ),
        ("pipeline: [classification]", "FILE: pipeline = ['classification']: unknown pipeline"),
        ("curation: [{sampel: {}}]", "FILE: curation.0 = 'sampel': unknown operation, did you mean 'sample'?; known: "),
        ("curation: [{}]", "FILE: curation.0 = {}: expected one operation and its options; known: corrections, "),
        ("curation: {sample: {}}", "FILE: curation = {'sample': {}}: Input should be a valid list"),
        ("split_options: {mode: kfolds}", "FILE: split_options.mode = 'kfolds': unknown name, did you mean 'kfold'?"),
        ("training: {age_thresholds: [60, 30]}", "FILE: training.age_thresholds = [60, 30]: age thresholds must be"),
        (
            "model: resnet",
            "FILE: model = 'resnet': unknown model 'resnet', did you mean 'resnet",
        ),
        (
            "label_space: masc",
            "FILE: label_space = 'masc': unknown label space 'masc', did you mean 'mask'?; ",
        ),
        ("format: profil", "FILE: format = 'profil': unknown format, did you mean 'profile'?; known: aihub, auto, cl"),
        ("checkpoint: bst", "FILE: checkpoint = 'bst': unknown name, did you mean 'best'?; known: "),
        (
            "training: {scheduler: cosine_cycl}",
            "FILE: training.scheduler.name = 'cosine_cycl': unknown scheduler 'cosine_cycl', did you mean 'cosine_cyc",
        ),
        (
            "training: {criterion: auc}",
            "FILE: training.criterion = 'auc': unknown name, did you mean 'acc'?; known: acc",
        ),
        ("floors: {macro: 0.5}", "FILE: floors.macro = 0.5: no metric of that name can have a floor"),
        ("floors: {log_loss: 0.5}", "FILE: floors.log_loss = 0.5: less of it is better, so it can have no floor"),
        ("label_space: mask\nfloors: {age_accuracy: 0.5}", "FILE: floors.age_accuracy = 0.5: no metric of that name"),
        # wrong types and values
        ("epochs: many", "FILE: epochs = 'many': Input should be a valid integer"),
        ("epochs: 2.5", "FILE: epochs = 2.5: Input should be a valid integer"),
        ("epochs: 0", "FILE: epochs = 0: Input should be greater than or equal to 1"),
        ("epochs:", "FILE: epochs = None: Input should be a valid integer"),
        ("floors: 0.5", "FILE: floors = 0.5: Input should be a valid dictionary"),
        ("floors: {macro_f1: 85}", "FILE: floors.macro_f1 = 85.0: a floor lies between 0 and 1"),
        (
            "training: {augmentation: {arguments: {flip: 2}}}",
            "FILE: training.augmentation.arguments.flip = 2: Input should be less than or equal to 1",
        ),
        (
            "training: {augmentation: {arguments: {scale: [2, 1]}}}",
            "FILE: training.augmentation.arguments = {'scale': [2, 1]}: scale must be a range",
        ),
        ("model_name: a/b", "FILE: model_name = 'a/b': use letters, digits"),
        ("gpus: two", "FILE: gpus = 'two': expected a whole number from 0 to 99"),
        ("gpus: -1", "FILE: gpus = -1: expected a whole number"),
        ("storage_secret: My_Secret", "FILE: storage_secret = 'My_Secret': use small letters, digits, '-' and '.'"),
        ("storage_secret: ''", "FILE: storage_secret = '': use small letters"),
        (
            "val_ratio: 0.6\ntest_ratio: 0.6",
            "FILE: test_ratio = 0.6: val_ratio and test_ratio leave nothing to train on",
        ),
        ("training: {epochs: 3}", "FILE: training.epochs = 3: is a parameter of its own: write it as epochs"),
        # what does not fit the label space
        (
            "training: {objective: {loss: bce}}",
            "FILE: training.objective = {'loss': 'bce'}: loss 'bce' is for hea",
        ),
        (
            "label_space: all\ntraining: {objective: {heads: {emotion: focal}}}",
            "FILE: training.objective = {'heads': {'emotion': 'focal'}}: unknown head 'emotion'; known: age, gend",
        ),
        (
            "label_space: mask\ntraining: {objective: {loss: {class_weights: [1, 2]}}}",
            "FILE: training.objective = {'loss': {'class_weights': [1, 2]}}: class_weights of head 'mask': expected 3",
        ),
        (
            "training: {sampling: {name: class_balanced, by: agee}}",
            "FILE: training.sampling.by = 'agee': unknown label space 'agee', did you mean 'age'?",
        ),
        (
            "training: {soft_targets: {certainty: {emotion: 0.9}}}",
            "FILE: training.soft_targets = {'certainty': {'emotion': 0.9}}: soft_targets: 'certainty' names the",
        ),
        (
            "training: {network: {heads: {gender: {kind: hidden}}}}",
            "FILE: training.network = {'heads': {'gender': {'kind': 'hidden'}}}: the model has a head of its own",
        ),
        (
            "checkpoint: best_f1\ntraining: {keep_checkpoints: best_and_last}",
            "FILE: training.keep_checkpoints = 'best_and_last': drops best_f1, which becomes the model",
        ),
        (
            "label_space: emotion\nnotify_threshold: 0.8",
            "FILE: notify_threshold = 0.8: label space 'emotion' does not tell worn masks from missing or wrongly worn",
        ),
        ("notify_threshold: 80", "FILE: notify_threshold = 80: Input should be less than or equal to 1"),
        ("training: {keep_checkpoints: some}", "FILE: training.keep_checkpoints = 'some': unknown name"),
        # files that are no configs
        ("just words", "FILE: expected `key: value` lines, got str"),
        ("a: [1", "FILE: is not YAML: while parsing"),
        ("source: ${NOWHERE}/faces", "FILE: source = '${NOWHERE}/faces': the environment variable NOWHERE is not set"),
    ],
)
def test_problems(tmp_path: Path, text: str, expected: str) -> None:
    (line,) = problems(tmp_path, text)
    assert line.startswith(expected), line


def test_all_problems_at_once_each_with_its_origin(tmp_path: Path) -> None:
    lines = problems(
        tmp_path, "epoch: 3\nmodel: vgg\ntraining: {flop: 1}", "seed=x", environment={"SM_CHANNEL_TRAIN": "s"}
    )
    assert sorted(line.partition(" = ")[0] for line in lines) == [
        "--set: seed",
        "FILE: epoch",
        "FILE: model",
        "FILE: training.flop",
    ]


def test_a_number_of_gpus_is_text_for_the_cluster() -> None:
    assert [resolve("", [parameter], {}).gpus for parameter in ("seed=1", "gpus=2", "gpus='4'")] == ["0", "2", "4"]


@pytest.mark.parametrize(
    "parameter", ["epochs", "=3", "training..flip=1", "epochs.x.y=1", "training={", "epochs=3 4: 5: 6"]
)
def test_malformed_parameters(tmp_path: Path, parameter: str) -> None:
    (line,) = problems(tmp_path, "epochs: 3", parameter)
    assert line.startswith("--set")


def test_an_unknown_config_lists_the_known_ones() -> None:
    known = r"config 'mask': .*did you mean 'mask3'\?; known: .*\bclassification, .*\bemotion, .*\bmask3"
    with pytest.raises(InputError, match=known):
        resolve("mask", (), {})


@pytest.mark.parametrize(
    ("config", "environment", "parameters", "source"),
    [
        ("", {}, [], "s3://raw/drawn_faces"),
        ("source: s3://raw/config", {}, [], "s3://raw/config"),
        ("source: s3://raw/config", {"SM_CHANNEL_TRAIN": "/data/env"}, [], "/data/env"),
        ("", {"SM_CHANNEL_TRAIN": "/data/env"}, [], "/data/env"),
        ("source: s3://raw/config", {"SM_CHANNEL_TRAIN": "/data/env"}, ["source=/data/parameter"], "/data/parameter"),
        ("source: s3://raw/config", {"SM_CHANNEL_TRAIN": ""}, [], "s3://raw/config"),
        ("source: ${PHOTOS}/a", {"PHOTOS": "/photos"}, [], "/photos/a"),
        ("source: s3://raw/config", {}, ["source=one", "source=two"], "two"),
    ],
)
def test_parameter_then_environment_then_config_then_default(
    tmp_path: Path, config: str, environment: dict[str, str], parameters: list[str], source: str
) -> None:
    file = tmp_path / "a.config.yaml"
    file.write_text(config)
    assert resolve(str(file), parameters, environment).source == source


def test_parameters_are_written_as_in_yaml_and_reach_inside(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("training: {ema_decay: 0.9, augmentation: {arguments: {flip: 0.5}}}\nlearning_rate: 1e-2")
    parameters = [
        "training.augmentation.arguments.flip=0",
        "floors={accuracy: 0.9}",
        "model_name=v1.2",
        "epochs=3.0",
        "source_digest=",
    ]
    config = resolve(str(file), parameters, {})
    assert config.training == {"ema_decay": 0.9, "augmentation": {"arguments": {"flip": 0}}}
    assert config.floors == {"accuracy": 0.9}
    assert (config.model_name, config.epochs, config.learning_rate, config.source_digest) == ("v1.2", 3, 0.01, "")


def test_a_parameter_reaches_into_an_entry_that_is_a_name() -> None:
    parameters = ["training.optimizer=SGD", "training.optimizer.arguments.momentum=0.9"]
    assert resolve("", parameters, {}).training == {"optimizer": {"name": "SGD", "arguments": {"momentum": 0.9}}}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_configs_are_valid(path: Path) -> None:
    config = resolve(path.stem, (), {"FACET_PHOTOS": "/photos", "FACET_WEIGHTS": "/weights"})
    assert resolve(str(path), (), {"FACET_PHOTOS": "/photos", "FACET_WEIGHTS": "/weights"}) == config


def test_a_resolved_config_is_a_config(tmp_path: Path) -> None:
    config = resolve(
        "mask3",
        ["training.augmentation.arguments.scale=[0.6, 1]"],
        {"FACET_PHOTOS": "/photos", "FACET_WEIGHTS": "/weights"},
    )
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(config.model_dump()))
    assert resolve(str(tmp_path / "again.yaml"), (), {}) == config


def test_a_pipeline_is_named_in_the_file_or_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 3")
    assert resolve(str(file), (), {}).pipeline == "classification"
    assert resolve(str(file), ["pipeline=classification"], {}) == resolve(str(file), (), {})
    (line,) = problems(tmp_path, "epochs: 3", "pipeline=other")
    assert line.startswith("--set: pipeline = 'other': unknown pipeline; known: batch_prediction")


def test_defaults_are_those_of_the_training() -> None:
    training = TrainConfig(label_space=ClassificationConfig().label_space)
    assert {name: getattr(ClassificationConfig(), name) for name in SHARED} == {
        name: getattr(training, name) for name in SHARED
    }
    assert {"model", "epochs", "batch_size", "learning_rate", "image_height", "image_width", "seed"} < SHARED


@pytest.mark.parametrize(
    ("training", "entry", "message"),
    [
        # losses
        ("objective: {loss: {name: focal, arguments: {gama: 1}}}", "objective", "has no argument 'gama'; it takes: ga"),
        ("objective: {loss: {name: focal, arguments: {gamma: much}}}", "objective", "gamma = 'much': Input should be"),
        (
            "objective: {loss: {name: focal, arguments: {gamma: -1}}}",
            "objective",
            "gamma = -1: Input should be",
        ),
        ("objective: {loss: {arguments: {label_smoothing: 2}}}", "objective", "label_smoothing = 2: Input should be l"),
        ("objective: {loss: json:loads}", "objective", "loss 'json:loads'"),
        # optimizers
        ("optimizer: {arguments: {momentum: 0.9}}", "optimizer", "'AdamW' has no argument 'momentum'; it takes: betas"),
        ("optimizer: {name: SGD, arguments: {momentum: x}}", "optimizer", "momentum = 'x': Input should be a valid nu"),
        ("optimizer: {name: SGD, arguments: {nesterov: true}}", "optimizer", "Nesterov momentum requires a momentum"),
        ("optimizer: {name: Adam, arguments: {betas: [0.9]}}", "optimizer", "list index out of range"),
        ("optimizer: {name: Adam, arguments: {betas: [0.9, 2]}}", "optimizer", "Invalid beta parameter"),
        ("optimizer: {groups: {backbon: {learning_rate: 1}}}", "optimizer", "group 'backbon' matches no trainable par"),
        ("optimizer: torch.optim:Adamx", "optimizer", "cannot be imported"),
        ("optimizer: json:loads", "optimizer", "is not an optimizer class"),
        # schedules
        ("scheduler: StepLR", "scheduler", "needs the argument 'step_size'"),
        ("scheduler: {name: StepLR, arguments: {step_size: 0}}", "scheduler", "modulo by zero"),
        ("scheduler: {name: StepLR, arguments: {step_size: two}}", "scheduler", "step_size = 'two': Input should be a"),
        ("scheduler: {name: OneCycleLR, arguments: {total_steps: 3}}", "scheduler", "Tried to step"),
        ("scheduler: {arguments: {warmup: 2}}", "scheduler", "warmup = 2: Input should be less than or equal to 1"),
        ("scheduler: {name: ExponentialLR, arguments: {gamma: -1}}", "scheduler", "the learning rate of epoch 2 is"),
        # networks
        ("network: {arguments: {depth: 3}}", "network", "unexpected keyword argument 'depth'"),
        ("network: {arguments: {norm_layer: 3}}", "network", "cannot be built with norm_layer=3"),
        ("network: {freeze: 99}", "network", "the backbone has 9 stages, 99 cannot be frozen"),
        ("network: {freeze: [layer9]}", "network", "the backbone has no module 'layer9'"),
        ("network: {backbone: small_resnet, pretrained: imagenet}", "network", "there are no ImageNet weights"),
        ("network: {parts: {eyes: a.pt}}", "network", "has no part 'eyes' with weights of its own"),
        ("network: {backbone: torch.nn:Linear}", "network", "missing 1 required positional argument"),
        # augmentations
        ("augmentation: {name: none, steps: [{name: Blur, arguments: {x: 1}}]}", "augmentation", "x = 1: unknown key"),
        ("augmentation: {name: Augmentation_384, arguments: {Nope: {}}}", "augmentation", "has no step 'Nope'"),
    ],
)
def test_what_libraries_are_called_with_is_tried(tmp_path: Path, training: str, entry: str, message: str) -> None:
    (line,) = problems(tmp_path, f"training: {{{training}}}")
    assert line.startswith(f"FILE: training.{entry} = ")
    assert message in line


def test_code_that_is_not_installed_here_is_left_to_the_image(tmp_path: Path) -> None:
    config = resolve("", ["model=their_package.networks:Net", "training.optimizer=other_package:Lion"], {})
    assert isinstance(config, ClassificationConfig)
    assert missing_packages(config.train_config) == ["their_package.networks:Net", "other_package:Lion"]


def test_an_ordinary_config_is_checked_without_torch() -> None:
    script = (
        "import sys; from pipelines.command.config import resolve; resolve('emotion'); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


@pytest.mark.parametrize(
    ("space", "rejected"),
    [
        ("{optimizer.name: [SGD, RMSprop], optimizer.arguments.momentum: [0.9]}", ""),
        ("{optimizer.name: [Adam, SGD], optimizer.arguments.momentum: [0.9]}", ""),
        ("{optimizer.name: [Adam, NAdam], optimizer.arguments.momentum: [0.9]}", "space.optimizer.arguments.momentum"),
        ("{objective.loss.name: [focal, bce]}", "space.objective.loss.name = 'bce'"),
        ("{scheduler.arguments.warmup: {uniform: [0, 3]}}", "space.scheduler.arguments.warmup = 3"),
        ("{network.freeze: [2, 30]}", "space.network.freeze = 30"),
    ],
)
def test_a_value_that_no_trial_could_use_is_rejected(tmp_path: Path, space: str, rejected: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"pipeline: search\nspace: {space}")
    if not rejected:
        resolve(str(file), (), {})
        return
    (line,) = problems(tmp_path, file.read_text())
    assert f"FILE: {rejected}" in line
