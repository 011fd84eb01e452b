"""Options that several commands of `facet` share, and the help of the commands that take a config."""

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

ConfigOption = Annotated[
    str, typer.Option("--config", "-c", envvar="CONFIG", help="YAML file, or the name of one in pipelines/configs.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", help="key=value, overrides the config; a dotted key reaches inside. Repeatable."),
]


class ConfigCommand(TyperCommand):
    """A command that takes a config: its help lists the parameters of the pipelines too."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, and then the parameters."""
        super().format_options(ctx, formatter)
        from pipelines.catalog import documented

        rows = [
            (name, f"{description}  [default: {default}]" if default else description)
            for name, default, description in documented()
        ]
        with formatter.section("Parameters, in a config or as --set key=value"):
            formatter.write_dl(rows)
