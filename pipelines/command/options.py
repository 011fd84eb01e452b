"""Options that several commands of `facet` share."""

from typing import Annotated

import typer

ConfigOption = Annotated[
    str,
    typer.Option("--config", "-c", envvar="CONFIG", help="YAML file, or the name of one in pipelines/configs."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="key=value over the config; a dotted key reaches inside. Repeatable."),
]
