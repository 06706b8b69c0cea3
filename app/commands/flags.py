"""Flags of `relata serve`: one for every setting, named and explained by the settings."""

from collections.abc import Sequence
from difflib import get_close_matches

from rich.console import Console
from rich.table import Table

from app.errors import SettingsError
from app.settings import PREFIX, Settings


def parse(arguments: Sequence[str]) -> dict[str, str | None]:
    """`--name value` and `--name=value` as values by the name of their setting.

    Raises:
        SettingsError: there is no such flag, or it has no value; the message names it.
    """
    flags: dict[str, str | None] = {}
    left = list(arguments)
    while left:
        argument = left.pop(0)
        flag, given, value = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in Settings.model_fields:
            near = get_close_matches(flag, [_flag(name) for name in Settings.model_fields], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"there is no flag {flag!r:.80}{hint} See relata serve --help")
        if not given:
            if not left:
                raise SettingsError(
                    f"{flag} needs a value: {Settings.model_fields[name].description}"
                )
            value = left.pop(0)
        flags[name] = value
    return flags


def show_help() -> None:
    """Print every flag, its variable and what is right."""
    console = Console()
    console.print("Usage: relata serve [--FLAG VALUE]...\n")
    console.print("Start the REST service. A flag wins over its environment variable.\n")
    table = Table(box=None, pad_edge=False)
    table.add_column("flag", no_wrap=True)
    table.add_column("variable", no_wrap=True)
    table.add_column("value")
    for name, field in Settings.model_fields.items():
        table.add_row(_flag(name), f"{PREFIX}{name.upper()}", field.description)
    console.print(table)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
