"""Runs benchmarks one after the other, and puts their output into docs/benchmarks.md.

Each part of that page that a script printed stands between two comments with the script's name; the
text around it is written by hand. A benchmark that fails leaves its part as it was.
"""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
# What takes minutes, in the order of the page.
BENCHMARKS: Mapping[str, tuple[str, ...]] = {
    "serve_one": (),
    "plain_model": (),
    "mixed_masks": (),
    "thread_scaling": (),
    "new_union": (),
    "mixed_pipeline": (),
    "onnx_pool": (),
    "lora_adapters": (),
    "fill_file": (),
    "score_choices": (),
    "union_search": (),
    "http_load": (),
    "overload": (),
    "hot_masks": (),
    "redis_outage": (),
    "drain": (),
    "many_relations": (),
    "precision": (),
    "learn_masks": (),
}


def main(
    *,
    only: Annotated[
        list[str] | None, typer.Option(help="This benchmark only; may be repeated.")
    ] = None,
    page: Annotated[Path, typer.Option(help="Where the results go.")] = PAGE,
) -> None:
    """Run benchmarks and put what they print into the page; exit with 1 if any failed."""
    chosen = only or list(BENCHMARKS)
    if unknown := sorted(set(chosen) - set(BENCHMARKS)):
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(BENCHMARKS)}")
    failed = []
    for name in chosen:
        typer.echo(f"{name} ...", err=True)
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *BENCHMARKS[name]],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            failed.append(name)
            continue
        page.write_text(put(page.read_text(encoding="utf-8"), name, done.stdout), encoding="utf-8")
    if failed:
        typer.echo(f"failed: {', '.join(failed)}", err=True)
        raise typer.Exit(1)


def put(page: str, name: str, output: str) -> str:
    """The page with a benchmark's output in its part, without the title that it prints.

    Raises:
        ValueError: the page has no such part.
    """
    begin, end = _marks(name)
    part = re.compile(f"{re.escape(begin)}\\n.*?{re.escape(end)}", re.DOTALL)
    body = "\n".join(_without_title(output.strip().splitlines())).strip()
    new, count = part.subn(lambda _: f"{begin}\n\n{body}\n\n{end}", page)
    if count != 1:
        raise ValueError(f"the page has {count} parts {begin} ... {end}, where one belongs")
    return new


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- begin {name} -->", f"<!-- end {name} -->"


def _without_title(lines: Sequence[str]) -> Sequence[str]:
    return lines[1:] if lines and lines[0].startswith("## ") else lines


if __name__ == "__main__":
    typer.run(main)
