"""What a config names is looked for before anything starts, where it can be seen from here."""

from pathlib import Path

import pytest

from pipelines.classification import ClassificationConfig
from pipelines.environment.settings import Settings
from pipelines.local.run import check, run
from pipelines.parameters.addresses import check_addresses
from serving.runtime.errors import InputError
from serving.runtime.storage import make_bucket, upload

TABLE = "error_id,error_file_name,miss_col,before,after,type\n000001,,gender,male,female,all\n"


def refused(config: ClassificationConfig, *, on_cluster: bool = False) -> tuple[list[str], list[str]]:
    """The lines of the error, and those of the notes."""
    notes: list[str] = []
    try:
        check_addresses(config.addresses(), on_cluster=on_cluster, echo=notes.append)
    except InputError as error:
        return str(error).splitlines(), notes
    return [], notes


def named(folder: str) -> ClassificationConfig:
    """A config that names everything that can be named, below one folder or prefix."""
    return ClassificationConfig(
        source=f"{folder}/faces",
        curation=[{"corrections": {"table": f"{folder}/fixes.csv"}}, {"sync": {"removed": f"{folder}/removed.txt"}}],
        split_options={"mode": "lists", "train_list": f"{folder}/train.txt", "val_list": f"{folder}/val.txt"},
        training={
            "network": {"pretrained": f"{folder}/weights.pt", "parts": {"ir50": f"{folder}/ir50.pt"}},
            "resume": f"{folder}/earlier",
            "soft_targets": {"uncertain": {"gender": f"{folder}/doubts.csv"}},
        },
    )


ENTRIES = [
    "source",
    "curation.0.corrections.table",
    "curation.1.sync.removed",
    "training.network.pretrained",
    "training.network.parts.ir50",
    "training.resume",
    "training.soft_targets.uncertain.gender",
    "split_options.train_list",
    "split_options.val_list",
]


def write_all(folder: Path) -> None:
    for name in ("faces/a.jpg", "removed.txt", "train.txt", "val.txt", "weights.pt", "ir50.pt", "earlier/last.pt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    (folder / "fixes.csv").write_text(TABLE)
    (folder / "doubts.csv").write_text("person\n000001\n")


def test_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    lines, _ = refused(named(str(tmp_path)))
    assert sorted(line.partition(" = ")[0] for line in lines) == sorted(ENTRIES)
    write_all(tmp_path)
    assert refused(named(str(tmp_path))) == ([], [])


@pytest.mark.usefixtures("s3")
def test_s3_is_asked(tmp_path: Path) -> None:
    make_bucket("named")
    for on_cluster in (False, True):
        lines, notes = refused(named("s3://named/all"), on_cluster=on_cluster)
        assert sorted(line.partition(" = ")[0] for line in lines) == sorted(ENTRIES)
        assert not notes
    write_all(tmp_path)
    upload(tmp_path, "s3://named/all")
    assert refused(named("s3://named/all")) == ([], [])


@pytest.mark.usefixtures("no_aws")
def test_paths_on_a_cluster_and_s3_out_of_reach_are_left_to_the_steps(tmp_path: Path) -> None:
    assert refused(named(str(tmp_path)), on_cluster=True) == ([], [])
    lines, notes = refused(named("s3://named/nowhere"), on_cluster=True)
    assert not lines
    assert len(notes) == len(ENTRIES) - 1, "the submission says it of the source"
    assert len(refused(named("s3://named/nowhere"))[0]) == len(ENTRIES)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("fixes.csv", "id,before\n1,2\n", "expected a header with the columns error_id"),
        ("fixes.csv", TABLE.replace("female,all", "female,some"), "'type' must be 'all'"),
        ("doubts.csv", "who\n1\n", "expected a header with the columns person"),
    ],
)
def test_tables_are_read(tmp_path: Path, name: str, content: str, message: str) -> None:
    write_all(tmp_path)
    (tmp_path / name).write_text(content)
    ((line,), _) = refused(named(str(tmp_path)))
    assert message in line


def test_tables_that_ship_need_no_file() -> None:
    config = ClassificationConfig(
        curation=[{"corrections": {"table": "age_60"}}],
        training={"soft_targets": {"uncertain": {"gender": "ambiguous_gender"}}},
    )
    assert list(config.addresses()) == []


def test_imagenet_weights_are_here_or_can_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    config = ClassificationConfig(training={"network": {"pretrained": "imagenet"}})
    ((line,), _) = refused(config)
    assert line.startswith("training.network.pretrained = 'imagenet': pretrained: the ImageNet weights of 'resnet18' c")
    assert refused(config, on_cluster=True) == ([], [])
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth").touch()
    assert refused(config) == ([], [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "/no/such/folder"}, "source = '/no/such/folder': does not exist"),
        ({"training": {"resume": "/no/such/training"}}, "training.resume = '/no/such/training': there is no last.pt"),
        ({"model": "their_package.networks:Net"}, "their_package.networks:Net: there is no such package"),
    ],
)
def test_a_run_makes_nothing_for_a_config_that_cannot_work(
    home: Path, changes: dict[str, object], message: str
) -> None:
    config = ClassificationConfig.model_validate(changes)
    settings = Settings.from_environment({"FACET_HOME": str(home)})
    for start in (check, run):
        with pytest.raises(InputError, match=message):
            start(config, settings)
    assert not (home / "runs").exists()
