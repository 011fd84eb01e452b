"""The parameters of the pipelines: one description for KFP, the command line and the documentation."""

import inspect
from functools import partial
from pathlib import Path

import pytest
from kfp import compiler
from typer.testing import CliRunner

from pipelines.catalog import PIPELINES, Pipeline, documented
from pipelines.command.main import app
from pipelines.intermediate import read_documents
from pipelines.parameters.pipeline import PipelineConfig
from pipelines.parts.data import Configure, read_photos
from pipelines.resources import Site, configure

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
BEGIN, END = "<!-- The parameters of the pipelines: from pipelines/parameters -->\n", "<!-- end -->"


class ReadConfig(PipelineConfig):
    """The parameters of a pipeline that trains nothing."""

    pipeline: str = "read"


def test_the_table_of_the_documentation_is_that_of_the_models() -> None:
    rows = [f"| `{name}` | {f'`{default}`' if default else ''} | {text} |" for name, default, text in documented()]
    expected = "\n".join(["", "| key | default | meaning |", "|---|---|---|", *rows, "", ""])
    _, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    assert begin and rest.partition(END)[0] == expected, f"put this between the comments:\n{expected}"


@pytest.mark.parametrize("command", [["run"], ["submit"], ["leak"], ["schedule", "add"]])
def test_the_help_of_a_command_describes_every_parameter(command: list[str]) -> None:
    shown = " ".join(CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"}).output.split())
    for name, _, description in documented():
        assert f" {name} {' '.join(description.split())[:60]}" in shown


def test_a_pipeline_has_the_name_of_its_entry_and_a_description() -> None:
    for name, pipeline in PIPELINES.items():
        assert (pipeline.config().pipeline, pipeline.graph.__name__) == (name, name.removesuffix("_faces"))
        assert inspect.getdoc(pipeline.graph)


def test_a_pipeline_without_a_training_has_only_the_parameters_of_the_data_and_the_cluster() -> None:
    assert set(ReadConfig().arguments()) == {
        *("source", "format", "ingest_options", "curation", "source_digest", "gpus", "storage_secret")
    }
    assert next(ReadConfig(curation=[{"sampel": {}}]).problems(set())).path == ("curation", "0")


def test_a_pipeline_without_a_training_compiles_from_the_shared_parts(tmp_path: Path) -> None:
    def read(p: ReadConfig, configure: Configure) -> None:
        """Read raw photos."""
        read_photos(p, configure)

    built = Pipeline(ReadConfig, read).build(partial(configure, site=Site()))
    compiler.Compiler().compile(built, str(tmp_path / "read.yaml"))
    spec = read_documents((tmp_path / "read.yaml").read_text(encoding="utf-8"))[0]
    assert (spec["pipelineInfo"]["name"], spec["pipelineInfo"]["description"]) == ("read", "Read raw photos.")
    assert set(spec["root"]["dag"]["tasks"]) == {"ingest", "curate"}
    assert set(spec["root"]["inputDefinitions"]["parameters"]) == set(ReadConfig().arguments())


def test_every_graph_is_a_file_of_at_most_60_lines() -> None:
    for pipeline in PIPELINES.values():
        assert len(inspect.getsource(inspect.getmodule(pipeline.graph)).splitlines()) <= 60  # type: ignore[arg-type]
