"""Runs benchmarks one after the other, and puts their output into docs/benchmarks.md.

Each part of that page that a script printed stands between two comments with the script's name; the
text around it is written by hand. A benchmark that fails leaves its part as it was.
"""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
# What takes minutes, in the order of the page: a part of it, the script that makes it, and with
# which options.
BENCHMARKS: Mapping[str, tuple[str, str]] = {
    "serve_one": ("serve_one", ""),
    "plain_model": ("plain_model", ""),
    "plain_model_long": (
        "plain_model",
        "--batches 128 --batches 512 --lengths 60 --rounds 3 --no-compiled --no-piped",
    ),
    "plain_model_bert_base": (
        "plain_model",
        "--shape bert-base --batches 1 --batches 8 --batches 32 --lengths 16 --rounds 5 "
        "--no-compiled",
    ),
    **{
        f"plain_model_{dtype}": (
            "plain_model",
            f"--dtype {dtype} --lengths 9 --lengths 40 --no-compiled",
        )
        for dtype in ("bfloat16", "int8")
    },
    "mixed_masks": ("mixed_masks", ""),
    **{
        f"mixed_masks_{dtype}": ("mixed_masks", f"--dtype {dtype} --rows 128")
        for dtype in ("bfloat16", "int8")
    },
    "mixed_masks_long": (
        "mixed_masks",
        "--masks 16 --popularity uniform --rows 128 --rows 512 --tokens 16 --tokens 60 "
        "--rounds 5 --warm-up 1",
    ),
    "mixed_masks_bert_base": (
        "mixed_masks",
        "--shape bert-base --masks 16 --rounds 5 --warm-up 1",
    ),
    "thread_scaling": ("thread_scaling", ""),
    "new_union": ("new_union", ""),
    "mixed_pipeline": ("mixed_pipeline", ""),
    "onnx_pool": ("onnx_pool", ""),
    "lora_adapters": ("lora_adapters", ""),
    "fill_file": ("fill_file", ""),
    "fill_large": ("fill_large", ""),
    "score_choices": ("score_choices", ""),
    "union_search": ("union_search", ""),
    "http_load": ("http_load", ""),
    "overload": ("overload", ""),
    "hot_masks": ("hot_masks", ""),
    "redis_outage": ("redis_outage", ""),
    "drain": ("drain", ""),
    "many_relations": ("many_relations", ""),
    "precision": ("precision", ""),
    "learn_masks": ("learn_masks", ""),
    "rank_links": ("rank_links", ""),
}
# What needs data that does not come with a checkout: runs only where it is named.
ONLY_BY_NAME = frozenset({"rank_links"})
# Where a part's JSON goes: a script that makes two parts must not write over the first.
RESULTS = Path("runs/benchmarks")


def main(
    *,
    only: Annotated[
        list[str] | None, typer.Option(help="This benchmark only; may be repeated.")
    ] = None,
    options: Annotated[
        str, typer.Option(help="Further options of the one benchmark that is named.")
    ] = "",
    page: Annotated[Path, typer.Option(help="Where the results go.")] = PAGE,
) -> None:
    """Run benchmarks and put what they print into the page; exit with 1 if any failed."""
    chosen = only or [name for name in BENCHMARKS if name not in ONLY_BY_NAME]
    if unknown := sorted(set(chosen) - set(BENCHMARKS)):
        raise typer.BadParameter(f"{unknown[0]} is none of {', '.join(BENCHMARKS)}")
    if options and len(chosen) != 1:
        raise typer.BadParameter("--options go with one --only, whose options they are")
    failed = []
    for name in chosen:
        typer.echo(f"{name} ...", err=True)
        module, own = BENCHMARKS[name]
        command = [*own.split(), *shlex.split(options)]
        out = str(RESULTS / f"{name}.json")
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{module}", *command, "--out", out],
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
