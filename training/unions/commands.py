"""Body of `relata unions`."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from masks import MaskPack, combine_masks
from plm import load_base
from plm.masked import check_belongs
from training.console import console, steady_bar
from training.data import DataError
from training.evaluation import collect_provenance
from training.unions.questions import (
    Question,
    encode_questions,
    normalize_of,
    read_questions,
    scoring_of,
)
from training.unions.record import RESULTS, Record, Settings
from training.unions.report import PAGE, RECORD, Report, summary_of, write_report
from training.unions.run import Findings, Search, run_search
from training.unions.scoring import UnionScorer
from training.unions.selection import folds_of

Way = Literal["exhaustive", "greedy"]
WAYS: tuple[Way, ...] = ("exhaustive", "greedy")


def unions_command(
    *,
    pack: Path,
    questions: Path,
    out: Path,
    sizes: str = "1,2,3",
    search: str = "exhaustive",
    scoring: str | None = None,
    normalize: str | None = None,
    relations: Sequence[str] = (),
    base: str | None = None,
    folds: int = 5,
    seed: int = 0,
    threads: int | None = None,
) -> None:
    """Try unions of a pack's relations on questions, and write `out`/unions.md and unions.json.

    Raises:
        DataError: questions or options that cannot be used, or results of other settings in `out`.
        MaskError, BaseModelError: the pack or the base cannot be loaded, or they do not fit.
    """
    if search not in WAYS:
        raise DataError(f"no search {search!r:.80}; there are {', '.join(WAYS)}")
    default_scoring, default_normalize = scoring_of(scoring), normalize_of(normalize)
    opened = MaskPack.open(pack)
    names = _chosen(opened, relations)
    wanted = _sizes(sizes, len(names))
    asked = read_questions(questions)
    parts = folds_of(len(asked), folds, seed)
    if threads is not None:
        torch.set_num_threads(threads)
    masks = opened.load_all()
    own = {name: masks[name] for name in names}
    if wanted[-1] > 1:
        # Before hours of work, and not at the first pair that does not go together.
        combine_masks(list(own.values()))
    model = load_base(base or opened.base_model)
    for mask in own.values():
        check_belongs(model, mask)
    encoded = encode_questions(
        model, asked, questions, scoring=default_scoring, normalize=default_normalize
    )
    settings = Settings(
        questions=_digest(asked),
        base=model.digest,
        scoring=default_scoring or "default",
        normalize=default_normalize or "default",
        masks={name: mask.digest for name, mask in masks.items()},
    )
    with Record(out, settings, [one.answer for one in asked]) as record:
        with console.status("running what all unions share"):
            scorer = UnionScorer(model, own, encoded.plans)
        console.print(
            f"{len(asked):,} questions, {scorer.row_count:,} rows of {scorer.tokens:,} tokens; "
            f"{len(record):,} unions are in {out / RESULTS} already"
        )
        findings = _search(
            scorer, record, names, wanted, parts, seed=seed, exhaustive=search == "exhaustive"
        )
    report = Report(
        findings=findings,
        settings=settings,
        provenance=collect_provenance(
            seed=seed,
            data_digest=settings.questions,
            split_digest=settings.questions,
            base_digest=model.digest,
        ),
        pack=opened.folder,
        questions=len(asked),
        chance=encoded.chance,
        folds=folds,
        scorings=tuple(sorted({plan.scoring for plan in encoded.plans})),
        normalizations=tuple(sorted({plan.normalize for plan in encoded.plans})),
    )
    write_report(report, out)
    for line in summary_of(report):
        console.print(line, markup=False)
    console.print(f"all of it is in {out / PAGE} and {out / RECORD}")


def _search(
    scorer: UnionScorer,
    record: Record,
    names: Sequence[str],
    sizes: Sequence[int],
    folds: Sequence[NDArray[np.int64]],
    *,
    seed: int,
    exhaustive: bool,
) -> Findings:
    with steady_bar("unions") as (progress, task):

        def tell(done: int, expected: int) -> None:
            progress.update(task, completed=done, total=expected)

        return run_search(
            Search(scorer.best, record, tell),
            names,
            sizes,
            folds,
            seed=seed,
            exhaustive=exhaustive,
        )


def _chosen(pack: MaskPack, relations: Sequence[str]) -> tuple[str, ...]:
    if not pack.relations:
        raise DataError(f"{pack.folder} holds no masks; give a pack that does")
    wanted = [name.strip() for text in relations for name in text.split(",") if name.strip()]
    if unknown := sorted(set(wanted) - set(pack.relations)):
        raise DataError(
            f"{pack.folder} has no {', '.join(unknown)}; its relations are "
            f"{', '.join(pack.relations)}"
        )
    return tuple(name for name in pack.relations if not wanted or name in wanted)


def _sizes(text: str, relations: int) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise DataError(f"sizes are numbers joined by commas, e.g. 1,2,3, not {text!r:.80}")
    sizes = tuple(sorted({int(part) for part in parts}))
    if bad := [size for size in sizes if not 1 <= size <= relations]:
        raise DataError(f"a union has 1 to {relations} of the {relations} relations, not {bad[0]}")
    return sizes


def _digest(questions: Sequence[Question]) -> str:
    state = hashlib.sha256()
    for one in questions:
        fields = (one.context, one.choices, one.answer, one.scoring, one.normalize)
        state.update(json.dumps(fields, ensure_ascii=False).encode() + b"\n")
    return f"sha256:{state.hexdigest()}"
