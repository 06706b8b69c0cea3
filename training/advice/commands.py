"""Bodies of `relata check` and `relata templates`."""

from collections.abc import Sequence
from pathlib import Path

from rich.markdown import Markdown

from plm import load_base
from training.advice.check import Check, check_facts
from training.advice.report import TEMPLATE_HEADS, check_markdown, template_rows
from training.advice.templates import save_templates
from training.console import console
from training.data import DataError, Format, load_templates
from training.evaluation.report import markdown_table
from training.facts import read_files


def check_command(
    *,
    data: Sequence[Path],
    base: str,
    templates: Path | None = None,
    relations: Sequence[str] = (),
    format: Format = "auto",
    seed: int = 0,
    out: Path | None = None,
    object_tokens: int = 1,
    examples: int = 5,
) -> bool:
    """Say what is wrong with files of triples, and what would be right; whether nothing is.

    `object_tokens` is how many tokens an object may have, as in training. With `out` the report is
    written there too, with every example.

    Raises:
        DataError, BaseModelError: the files, the templates or the base cannot be read.
    """
    found = _checked(data, base, templates, relations, format=format, seed=seed, most=object_tokens)
    console.print(Markdown(check_markdown(found, examples=examples)))
    if out is not None:
        longest = max((len(finding.examples) for finding in found.findings), default=0)
        _write(out, check_markdown(found, examples=longest))
        console.print(f"the report is {out}")
    return found.sound


def templates_command(
    *,
    data: Sequence[Path],
    base: str,
    templates: Path | None = None,
    relations: Sequence[str] = (),
    format: Format = "auto",
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Rank the templates of the data's relations, and propose some where there are none.

    With `out` they are written there, to be mended by hand and given to `relata train`.

    Raises:
        DataError: the files or templates cannot be read, no relation has a usable fact, or `out`
            exists already.
        BaseModelError: the base cannot be loaded.
    """
    if out is not None and out.exists():
        raise DataError(f"{out} is there already, perhaps mended by hand; name another file")
    found = _checked(data, base, templates, relations, format=format, seed=seed)
    if not found.templates:
        raise DataError(
            "no relation has a fact whose object is one token; `relata check` says which are not"
        )
    for one in found.relations:
        if not one.ranked:
            console.print(f"{one.relation}: no usable fact to rank templates on")
            continue
        console.print(f"{one.relation} ({one.origin})", markup=False)
        console.print(Markdown(markdown_table(TEMPLATE_HEADS, template_rows(one.ranked))))
    if out is not None:
        save_templates(found.templates.values(), out)
        console.print(f"the templates are in {out}; mend them, and give them to --templates")


def _checked(
    data: Sequence[Path],
    base: str,
    templates: Path | None,
    relations: Sequence[str],
    *,
    format: Format,
    seed: int,
    most: int = 1,
) -> Check:
    wordings = load_templates() | (load_templates(templates) if templates else {})
    files = read_files(data, format=format, relations=relations)
    model = load_base(base)
    with console.status("asking the unmasked model"):
        return check_facts(model, files, wordings, seed=seed, most=most)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror})") from error
