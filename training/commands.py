"""Bodies of `relata train`, `calibrate`, `evaluate`, `baselines` and `adapt`; others by import."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.markdown import Markdown

from masks import MaskError, MaskPack
from plm import BaseModel, PlmError, dtype_named, load_base
from training.adapt import AdaptConfig, AdaptError, adapt
from training.adapt.run import Report
from training.advice import complete_templates, findings_of
from training.advice.commands import check_command, templates_command
from training.assessment import Assessed, assess
from training.baselines import BASELINES, Done, Setting, compare_baselines
from training.calibration import Fit, calibrate_pack, check_learned_from, measure_masks
from training.console import (
    console,
    fit_line,
    learning_bar,
    peak_memory,
    progress_bar,
    show_advice,
    show_event,
    show_facts,
    show_proposals,
)
from training.data import (
    DataError,
    Format,
    RelationTemplates,
    Split,
    Triple,
    load_split,
    load_templates,
    split_by_fact,
)
from training.evaluation import (
    Evaluation,
    collect_provenance,
    markdown,
    relation_sentences,
    verdicts,
)
from training.facts import read_facts, read_files, usable_facts
from training.importing import LampError
from training.importing.commands import import_lamp_command
from training.learning import LearnConfig, objects_to_rank
from training.learning import preset as preset_of
from training.learning_curve import LearningCurve, curves_markdown
from training.pack_templates import object_tokens_of, pack_templates
from training.plan import Plan, RunError
from training.remember import read_remembered
from training.run import (
    TEMPLATES,
    Event,
    curves_of_run,
    evaluate_run,
    train,
    write_report,
)
from training.study.commands import study_command
from training.unions.commands import unions_command

__all__ = [
    "MISTAKES",
    "adapt_command",
    "baselines_command",
    "calibrate_command",
    "check_command",
    "evaluate_command",
    "import_lamp_command",
    "study_command",
    "templates_command",
    "train_command",
    "unions_command",
]

# Errors that are the user's to mend.
MISTAKES: tuple[type[Exception], ...] = (
    AdaptError,
    DataError,
    LampError,
    MaskError,
    PlmError,
    RunError,
)


def train_command(
    *,
    data: Sequence[Path],
    out: Path,
    base: str,
    preset: str = "near-identity",
    changes: Mapping[str, int | float | str | None] | None = None,
    options: Sequence[str] = (),
    templates: Path | None = None,
    further: Sequence[Path] = (),
    relations: Sequence[str] = (),
    format: Format = "auto",
    seed: int = 0,
    name: str | None = None,
    threads: int | None = None,
    together: int = 1,
    random_weights: int | None = None,
    remember: Path | None = None,
    object_tokens: int = 1,
    further_rates: Sequence[float] = (),
    learning_curve: bool = False,
) -> None:
    """Learn masks from files of triples, then write the report on the test facts.

    `changes`: settings of `LearnConfig` that replace the preset's; None leaves one as it is.
    `options`: `NAME=NUMBER` each, settings of the method alone. `together`: relations that are
    learned side by side. `random_weights`: seed of a base that knows nothing, in place of `base`'s
    own weights. `remember`: text on which masks are to leave the answers as they are.
    `object_tokens`: how many tokens an object may have; a relation that has objects of several is
    ranked among its own objects. `further_rates`: learning rates that are tried beside that of the
    settings; validation chooses. `learning_curve`: learn from a quarter and a half of the facts
    too, and report how the masks grow better with them.

    Raises:
        DataError, BaseModelError, RunError: see `training.run`.
    """
    _use_threads(threads)
    config = _learn_config(preset, changes or {}, options)
    if (remember is None) != (config.remember == 0):
        raise RunError("to remember takes both a text (--remember) and a weight above 0 for it")
    wordings = load_templates() | (load_templates(templates) if templates else {})
    files = read_files(data, format=format, relations=relations)
    model = load_base(base, random_seed=random_weights)
    wordings, proposals = complete_templates(
        model, files.triples, wordings, seed=seed, kept=out / TEMPLATES
    )
    facts = usable_facts(model, files, wordings, most=object_tokens)
    show_facts(facts, out)
    show_advice(findings_of(model, files, facts, seed=seed, most=object_tokens))
    show_proposals(proposals, out / TEMPLATES)
    more = None
    if further:
        chosen = sorted({fact.relation for fact in facts.triples})
        more = read_facts(
            model, further, wordings, relations=chosen, phrases=True, most=object_tokens
        )
        show_facts(more, out, "further-")
    text = None
    if remember is not None:
        with console.status("reading the text to remember"):
            text = read_remembered(model, remember, seed=seed)
    pack_name = name or out.resolve().name
    plan = Plan(
        facts=facts,
        further=more,
        templates=wordings,
        config=config,
        seed=seed,
        pack_name=pack_name,
        together=together,
        remember=text,
        object_tokens=object_tokens,
        further_rates=tuple(further_rates),
    )
    with learning_bar("learning") as (progress, task):

        def tell(event: Event) -> None:
            show_event(progress, task, event)

        pack = train(model, plan, out, tell=tell)
    curves = _curves(model, plan, out) if learning_curve else ()
    with console.status("assessing on the test facts") as status:
        evaluation = evaluate_run(
            model,
            plan,
            out,
            tell=lambda relation: status.update(f"assessing {relation}"),
            curves=curves,
        )
    console.print(Markdown(markdown(evaluation)))
    if curves:
        console.print(Markdown(curves_markdown(curves)))
    found = verdicts(evaluation)
    for sentence in [
        *(one.sentence for one in found if one.relation is None and len(evaluation.relations) > 1),
        *relation_sentences(found),
    ]:
        console.print(sentence, markup=False)
    count = len(pack.relations)
    console.print(f"took {peak_memory()} of memory at most")
    console.print(
        f"{count} mask{'' if count == 1 else 's'} in {pack.folder}; the report is {out}/report.md"
    )


def calibrate_command(
    *,
    pack: Path,
    base: str | None,
    split: Path | None = None,
    data: Sequence[Path] = (),
    further: Sequence[Path] = (),
    relations: Sequence[str] = (),
    format: Format = "auto",
    seed: int = 0,
    threads: int | None = None,
) -> None:
    """Fit the calibrations of a pack's masks, and write them into the pack.

    The facts are those that the masks were learned from: a split, or the files and the seed.

    Raises:
        DataError: not exactly one of `split` and `data`, unusable files, or other facts than the
            masks were learned from.
        MaskError, BaseModelError: the pack or the base cannot be loaded, or they do not fit.
    """
    if (split is None) == (not data):
        raise DataError("give either --split (of the run) or --data (split again with --seed)")
    _use_threads(threads)
    opened = MaskPack.open(pack)
    chosen = sorted(set(relations)) or list(opened.relations)
    masks = {relation: opened.load(relation) for relation in chosen}
    wordings, most = pack_templates(masks), object_tokens_of(masks)
    model = load_base(base or opened.base_model)
    if split is not None:
        parts = load_split(split)
    else:
        facts = read_facts(model, data, wordings, format=format, relations=chosen, most=most)
        show_facts(facts, None)
        parts = split_by_fact(facts.triples, seed=seed)
    more = _further_facts(model, further, wordings, chosen, most)

    def tell(relation: str, fit: Fit) -> None:
        console.print(f"{relation}: {fit_line(fit)}", markup=False)

    calibrated = calibrate_pack(model, pack, parts, more, relations=chosen, tell=tell)
    count = sum(calibrated.load(name).metadata.calibration is not None for name in chosen)
    console.print(f"{count} of {len(chosen)} masks in {pack} are calibrated")


def evaluate_command(
    *,
    pack: Path,
    base: str | None,
    split: Path | None = None,
    data: Sequence[Path] = (),
    prior_data: Sequence[Path] = (),
    further: Sequence[Path] = (),
    templates: Path | None = None,
    out: Path | None = None,
    format: Format = "auto",
    seed: int = 0,
    threads: int | None = None,
    dtype: str = "float32",
) -> None:
    """Assess a pack on the test part of a split, or on every fact of some files.

    With a split the probabilities of calibrated masks are held against the test facts too;
    `further` must then be what the masks were learned with. `dtype` is what products are computed
    in: what does a faster type cost?

    Raises:
        DataError: not exactly one of `split` and `data`, or the files hold nothing usable.
        MaskError, BaseModelError: the pack or the base cannot be loaded, or they do not fit.
    """
    if (split is None) == (not data):
        raise DataError("give either --split (its test facts are asked) or --data (all are)")
    if further and split is None:
        raise DataError("--further goes with --split: it says what the masks were learned with")
    products = dtype_named(dtype)
    _use_threads(threads)
    opened = MaskPack.open(pack)
    model = load_base(base or opened.base_model, dtype=products)
    masks = opened.load_all()
    wordings = pack_templates(masks) | (load_templates(templates) if templates else {})
    most = object_tokens_of(masks)
    if split is not None:
        parts = load_split(split)
        digest = parts.digest
    else:
        facts = read_facts(model, data, wordings, format=format, most=most)
        show_facts(facts, None)
        known: tuple[Triple, ...] = ()
        if prior_data:
            known = read_facts(model, prior_data, wordings, format=format, most=most).triples
        digest, parts = facts.digest, Split(known, (), facts.triples)
    provenance = collect_provenance(
        seed=seed, data_digest=digest, split_digest=parts.digest, base_digest=model.digest
    )
    objects = objects_to_rank(model, (*parts.train, *parts.validation, *parts.test))
    what = Assessed(parts.test, parts.train, wordings, masks, objects)
    with console.status("assessing") as status:
        evaluation = assess(model, what, provenance, seed=seed, report=status.update)
        if split is not None:
            more = _further_facts(model, further, wordings, sorted(masks), most)
            calibration = measure_masks(model, masks, parts, more, tell=console.print)
            evaluation = replace(evaluation, calibration=calibration)
    _show_evaluation(evaluation, out)


def baselines_command(
    *,
    pack: Path,
    out: Path,
    base: str | None,
    split: Path | None = None,
    data: Sequence[Path] = (),
    further: Sequence[Path] = (),
    relations: Sequence[str] = (),
    only: Sequence[str] = (),
    epochs: int | None = None,
    format: Format = "auto",
    seed: int = 0,
    threads: int | None = None,
) -> None:
    """Learn the baselines of a pack's masks on the same facts, and report all side by side.

    The facts are those that the masks were learned from: a split, or the files and the seed.
    `only`: beginnings of the baselines' names.

    Raises:
        DataError: not exactly one of `split` and `data`, other facts than the masks were learned
            from, an unknown relation or baseline, or `out` is of another run.
        MaskError, BaseModelError: the pack or the base cannot be loaded, or they do not fit.
    """
    if (split is None) == (not data):
        raise DataError("give either --split (of the run) or --data (split again with --seed)")
    _use_threads(threads)
    opened = MaskPack.open(pack)
    if unknown := sorted(set(relations) - set(opened.relations)):
        raise DataError(
            f"{pack} has no {', '.join(unknown)}; its relations are {', '.join(opened.relations)}"
        )
    masks = {relation: opened.load(relation) for relation in relations or opened.relations}
    chosen = [name for name in BASELINES if not only or name.casefold().startswith(tuple(only))]
    if not chosen:
        raise DataError(f"no baseline begins so; there are {', '.join(BASELINES)}")
    wordings, most = pack_templates(masks), object_tokens_of(masks)
    model = load_base(base or opened.base_model)
    if split is not None:
        parts = load_split(split)
    else:
        names = sorted(masks)
        facts = read_facts(model, data, wordings, format=format, relations=names, most=most)
        parts = split_by_fact(facts.triples, seed=seed)
    more = _further_facts(model, further, wordings, sorted(masks), most)
    check_learned_from(masks, parts, more)
    setting = Setting(
        parts,
        more,
        wordings,
        masks,
        _learn_config("near-identity", {"epochs": epochs}, ()),
        seed,
        objects_to_rank(model, (*parts.train, *parts.validation, *parts.test)),
    )
    provenance = collect_provenance(
        seed=seed, data_digest=parts.digest, split_digest=parts.digest, base_digest=model.digest
    )

    def tell(done: Done) -> None:
        console.print(
            f"{done.relation}, {done.system}: validation MRR {done.validation:.3f} at "
            f"{done.rate:g}{' with further facts' if done.further else ''}, "
            f"{done.seconds:.0f} s for all tries",
            markup=False,
        )

    evaluation, done = compare_baselines(model, setting, out, provenance, only=chosen, tell=tell)
    _show_evaluation(evaluation, out)
    for name in chosen:
        of_name = [one for one in done if one.system == name]
        trained = max(one.trained for one in of_name)
        seconds = sum(one.seconds for one in of_name)
        console.print(
            f"{name}: {trained:,} numbers a relation ({4 * trained / 1e6:.2f} MB in float32); "
            f"{seconds:,.0f} s",
            markup=False,
        )
    bits = max(mask.weight_count for mask in masks.values())
    console.print(f"masks: {bits:,} bits a relation ({bits / 8e6:.2f} MB)", markup=False)


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
    with progress_bar() as progress:
        task = progress.add_task("reading text", total=config.token_budget)

        def tell(report: Report) -> None:
            progress.update(
                task, completed=min(report.tokens, config.token_budget), description=_line(report)
            )
            if report.held_out_loss is not None:
                progress.console.print(f"{report.tokens:,} word pieces: {_line(report)}")

        last = adapt(source, text, out, config, report=tell)
    console.print(f"{_line(last)}; the model is {out / 'model'}")


def _curves(base: BaseModel, plan: Plan, out: Path) -> tuple[LearningCurve, ...]:
    with learning_bar("learning curve") as (progress, task):

        def tell(relation: str, share: float) -> None:
            progress.update(task, completed=share, description=f"learning curve of {relation}")

        return curves_of_run(base, plan, out, tell=tell)


def _learn_config(
    name: str, changes: Mapping[str, int | float | str | None], options: Sequence[str]
) -> LearnConfig:
    try:
        given = _given(changes)
        if options:
            given["options"] = dict(map(_option, options))
        return replace(preset_of(name), **given)
    except ValueError as error:
        raise RunError(str(error)) from error


def _option(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        if equals:
            return name.strip(), float(value)
    except ValueError:
        pass
    raise RunError(f"an option is NAME=NUMBER, e.g. sparsity=0.1, not {text!r:.80}")


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


def _further_facts(
    base: BaseModel,
    paths: Sequence[Path],
    wordings: Mapping[str, RelationTemplates],
    relations: Sequence[str],
    most: int,
) -> tuple[Triple, ...]:
    if not paths:
        return ()
    found = read_facts(base, paths, wordings, relations=relations, phrases=True, most=most)
    return found.triples


def _show_evaluation(evaluation: Evaluation, out: Path | None) -> None:
    console.print(Markdown(markdown(evaluation)))
    if out is not None:
        write_report(evaluation, out)
        console.print(f"the report is {out}/report.md")


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
