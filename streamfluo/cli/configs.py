"""`streamfluo configs`: the configs that come with the package, one line each, and a copy of one to change."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ..core.errors import ConfigError
from ..engine.shipped import SUFFIX, shipped_config, shipped_configs, shipped_hint
from .console import console

app = typer.Typer(help="The configs that come with streamfluo: list them, or copy one.")


@app.callback(invoke_without_command=True)
def list_configs(context: typer.Context) -> None:
    """List the configs that come with streamfluo; `run`, `check` and the others take their names."""
    if context.invoked_subcommand is not None:
        return
    table = Table("config", "what it does", box=None)
    for name, sentence in shipped_configs().items():
        table.add_row(name, sentence)
    console.print(table)


@app.command()
def copy(
    name: Annotated[str, typer.Argument(help="the config", show_default=False)],
    path: Annotated[Path | None, typer.Argument(help="file or folder to write [default: ./NAME.toml]")] = None,
) -> None:
    """Copy a config, to be changed; a file that is there stays."""
    shipped = shipped_config(name)
    if not shipped.is_file() or Path(name).parent != Path():
        raise ConfigError(f"configs: none is called {name!r}{shipped_hint(Path(Path(name).name))}")
    target = path or Path(shipped.name)
    target = target / shipped.name if target.is_dir() else target
    target = target if target.suffix else target.with_name(f"{target.name}{SUFFIX}")
    try:
        with target.open("xb") as file:
            file.write(shipped.read_bytes())
    except FileExistsError:
        raise ConfigError(f"configs: {target} is there already; it stays as it is") from None
    except OSError as error:
        raise ConfigError(f"configs: {target} cannot be written: {error.strerror or error}") from None
    console.print(str(target), soft_wrap=True)
