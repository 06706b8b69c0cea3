"""Bodies of `relata train`, `relata evaluate` and `relata adapt`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from masks import MaskError, MaskPack, RelationMask
from plm import PlmError, load_base
from training.adapt import AdaptConfig, AdaptError, adapt
from training.adapt.run import Report
from training.assessment import Assessed, assess
from training.data import (
    DataError,
    Format,
    RelationTemplates,
    Split,
    load_split,
    load_templates,
)
from training.evaluation import Evaluation, collect_provenance, markdown
from training.facts import Facts, read_facts
from training.learning import LearnConfig
from training.learning import preset as preset_of
from training.run import Event, Plan, RunError, evaluate_run, train, write_report

# Errors that are the user's to mend.
MISTAKES: tuple[type[Exception], ...] = (AdaptError, DataError, MaskError, PlmError, RunError)
_SHOWN_PROBLEMS = 5
_console = Console()


def train_command(
    *,
    data: Sequence[Path],
    out: Path,
    base: str,
    preset: str = "near-identity",
    changes: Mapping[str, int | float | None] | None = None,
    templates: Path | None = None,
    further: Sequence[Path] = (),
    relations: Sequence[str] = (),
    format: Format = "auto",
    seed: int = 0,
    name: str | None = None,
    threads: int | None = None,
) -> None:
    """Learn masks from files of triples, then write the report on the test facts.

    `changes`: settings of `LearnConfig` that replace the preset's; None leaves one as it is.

    Raises:
        DataError, BaseModelError, RunError: see `training.run`.
    """
    _use_threads(threads)
    config = _learn_config(preset, changes or {})
    wordings = load_templates() | (load_templates(templates) if templates else {})
    model = load_base(base)
    facts = read_facts(model, data, wordings, format=format, relations=relations)
    _show_facts(facts, out)
    more = None
    if further:
        chosen = sorted({fact.relation for fact in facts.triples})
        more = read_facts(model, further, wordings, relations=chosen, phrases=True)
        _show_facts(more, out, "further-")
    plan = Plan(facts, more, wordings, config, seed, name or out.resolve().name)
    with _progress() as progress:
        task = progress.add_task("learning", total=None)

        def tell(event: Event) -> None:
            _show_event(progress, task, event)

        pack = train(model, plan, out, tell=tell)
    with _console.status("assessing on the test facts") as status:
        evaluation = evaluate_run(
            model, plan, out, tell=lambda relation: status.update(f"assessing {relation}")
        )
    _console.print(Markdown(markdown(evaluation)))
    _console.print(f"{len(pack.relations)} masks in {pack.folder}; the report is {out}/report.md")


def evaluate_command(
    *,
    pack: Path,
    base: str | None,
    split: Path | None = None,
    data: Sequence[Path] = (),
    prior_data: Sequence[Path] = (),
    templates: Path | None = None,
    out: Path | None = None,
    format: Format = "auto",
    seed: int = 0,
    threads: int | None = None,
) -> None:
    """Assess a pack on the test part of a split, or on every fact of some files.

    Raises:
        DataError: not exactly one of `split` and `data`, or the files hold nothing usable.
        MaskError, BaseModelError: the pack or the base cannot be loaded, or they do not fit.
    """
    if (split is None) == (not data):
        raise DataError("give either --split (its test facts are asked) or --data (all are)")
    _use_threads(threads)
    opened = MaskPack.open(pack)
    model = load_base(base or opened.base_model)
    masks = opened.load_all()
    wordings = _pack_wordings(masks) | (load_templates(templates) if templates else {})
    if split is not None:
        parts = load_split(split)
        digest = parts.digest
    else:
        facts = read_facts(model, data, wordings, format=format)
        _show_facts(facts, None)
        known = read_facts(model, prior_data, wordings, format=format).triples if prior_data else ()
        digest, parts = facts.digest, Split(known, (), facts.triples)
    provenance = collect_provenance(
        seed=seed, data_digest=digest, split_digest=parts.digest, base_digest=model.digest
    )
    what = Assessed(parts.test, parts.train, wordings, masks)
    with _console.status("assessing") as status:
        evaluation = assess(model, what, provenance, seed=seed, report=status.update)
    _show_evaluation(evaluation, out)


def adapt_command(
    *,
    source: str,
    text: Path,
    out: Path,
    settings: Path | None = None,
    changes: Mapping[str, int | float | None] | None = None,
    threads: int | None = None,
) -> None:
    """Adapt an encoder to masked language modelling on a folder of text.

    `settings`: a JSON file of `AdaptConfig` fields that replace the defaults; `changes` replace
    both, where not None.

    Raises:
        AdaptError: settings that do not fit, or see `training.adapt`.
    """
    _use_threads(threads)
    config = _adapt_config(settings, changes or {})
    with _progress() as progress:
        task = progress.add_task("reading text", total=config.token_budget)

        def tell(report: Report) -> None:
            progress.update(
                task, completed=min(report.tokens, config.token_budget), description=_line(report)
            )
            if report.held_out_loss is not None:
                progress.console.print(f"{report.tokens:,} word pieces: {_line(report)}")

        last = adapt(source, text, out, config, report=tell)
    _console.print(f"{_line(last)}; the model is {out / 'model'}")


def _learn_config(name: str, changes: Mapping[str, int | float | None]) -> LearnConfig:
    try:
        return replace(preset_of(name), **_given(changes))
    except ValueError as error:
        raise RunError(str(error)) from error


def _adapt_config(path: Path | None, changes: Mapping[str, int | float | None]) -> AdaptConfig:
    fields: dict[str, Any] = {}
    try:
        if path is not None:
            fields = json.loads(path.read_text(encoding="utf-8"))
            if "verbalise" in fields:
                fields["verbalise"] = tuple(fields["verbalise"])
        return AdaptConfig(**(fields | _given(changes)))
    except (OSError, TypeError, ValueError) as error:
        where = "" if path is None else f" of {path} (a JSON object)"
        raise AdaptError(f"adaptation settings{where}: {error}") from error


def _given(changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in changes.items() if value is not None}


def _line(report: Report) -> str:
    text = f"loss {report.running_loss:.3f}, {report.tokens_a_second:,.0f} pieces/s"
    if report.held_out_loss is not None:
        text += (
            f", held out: loss {report.held_out_loss:.3f}, accuracy {report.held_out_accuracy:.3f}"
        )
    return text


def _pack_wordings(masks: Mapping[str, RelationMask]) -> dict[str, RelationTemplates]:
    """A pack knows its wordings: the first template serves and evaluates."""
    return {
        relation: RelationTemplates(
            relation,
            mask.metadata.templates[0],
            mask.metadata.templates[1:] or mask.metadata.templates,
        )
        for relation, mask in masks.items()
    }


def _show_facts(facts: Facts, out: Path | None, prefix: str = "") -> None:
    """Print what was read and passed over; every passed-over line goes into a file of `out`."""
    for summary in facts.summaries:
        _console.print(summary)
    problems = [f"{line.source} line {line.number}: {line.reason}" for line in facts.bad_lines] + [
        f"<{item.triple.subject}, {item.triple.relation}, {item.triple.object}>: {item.reason}"
        for item in facts.rejected
    ]
    if not problems:
        return
    for problem in problems[:_SHOWN_PROBLEMS]:
        _console.print(f"  passed over: {problem}", style="yellow", markup=False)
    rest = len(problems) - _SHOWN_PROBLEMS
    where = ""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{prefix}passed-over.txt"
        path.write_text("\n".join(problems) + "\n", encoding="utf-8")
        where = f" (all in {path})"
    if rest > 0:
        _console.print(f"  and {rest:,} more{where}", style="yellow")


def _show_event(progress: Progress, task: TaskID, event: Event) -> None:
    place = f"{event.relation} ({event.index + 1} of {event.relations})"
    if event.resumed:
        progress.console.print(f"{place}: already learned, resumed past it")
    elif event.progress is not None:
        now = event.progress
        progress.update(
            task,
            total=event.relations,
            completed=event.index + now.step / now.steps,
            description=f"{place} loss {now.loss:.2f}, validation MRR {now.validation_mrr:.3f}",
        )
    elif event.learned is not None:
        metrics = event.learned.validation
        progress.console.print(
            f"{place}: validation MRR {metrics['mrr']:.3f} "
            f"(unmasked {metrics['unmasked_mrr']:.3f}), "
            f"chosen at step {event.learned.step} of {event.learned.steps}"
        )
        progress.update(task, total=event.relations, completed=event.index + 1)


def _show_evaluation(evaluation: Evaluation, out: Path | None) -> None:
    _console.print(Markdown(markdown(evaluation)))
    if out is not None:
        write_report(evaluation, out)
        _console.print(f"the report is {out}/report.md")


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)


@contextmanager
def _progress() -> Iterator[Progress]:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=_console,
    ) as progress:
        yield progress
