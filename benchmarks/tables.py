"""Results as Markdown on the terminal and JSON in a file, alike for all benchmarks."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import typer


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers are given as the text they shall be."""
    lines = [header, ["---", *["---:" for _ in header[1:]]], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def provenance_line(origin: Mapping[str, str]) -> str:
    """Where the figures come from, in one line of Markdown."""
    return f"*{'; '.join(f'{name}: {value}' for name, value in origin.items())}*"


def finish(out: Path, title: str, parts: Sequence[str], result: Any) -> None:
    """Print a title and parts of Markdown; write the result, a dataclass or mapping, as JSON."""
    typer.echo("\n\n".join([f"## {title}", *parts]))
    out.parent.mkdir(parents=True, exist_ok=True)
    content = asdict(result) if is_dataclass(result) and not isinstance(result, type) else result
    out.write_text(json.dumps(content, indent=2, default=asdict), encoding="utf-8")
    typer.echo(f"written to {out}", err=True)
