"""Body of `relata study`."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from rich.status import Status

from masks import MaskPack, RelationMask
from plm import load_base
from training.console import console
from training.data import DataError, Format, load_split, split_by_fact
from training.evaluation import collect_provenance
from training.facts import read_facts
from training.learning import objects_to_rank
from training.pack_templates import object_tokens_of, pack_templates
from training.study.section import NotApplicableError
from training.study.studied import PackOrigin, Studied

STUDIES = ("overlap", "ablation", "seeds", "embedding", "attention", "layers")
# It learns masks, for an hour perhaps: only when it is asked for.
LEARNS = "layers"
_NEEDED = ("matplotlib", "seaborn", "sklearn", "jinja2")


def study_command(
    *,
    packs: Sequence[Path],
    out: Path,
    base: str | None = None,
    split: Path | None = None,
    data: Sequence[Path] = (),
    only: Sequence[str] = (),
    relations: Sequence[str] = (),
    format: Format = "auto",
    seed: int = 0,
    learn_seeds: Sequence[int] = (),
    epochs: int | None = None,
    threads: int | None = None,
) -> None:
    """Study the masks of the first pack, and write `out`/study.html and study.json.

    The facts are those that the masks were learned from: a split, or the files and the seed.
    Further packs are of other seeds. `only`: sub-studies of `STUDIES`, maybe several joined by
    commas; all but `LEARNS` by default. `learn_seeds` and `epochs` are for that one.

    Raises:
        DataError: a package of the study is missing, an unknown sub-study or relation, or not
            exactly one of `split` and `data`.
        MaskError, BaseModelError: a pack or the base cannot be loaded, or they do not fit.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise DataError(
            f"the study needs {', '.join(missing)}; install them with: pip install 'relata[study]'"
        )
    if (split is None) == (not data):
        raise DataError("give either --split (of the run) or --data (split again with --seed)")
    chosen = _chosen(only)
    if threads is not None:
        torch.set_num_threads(threads)
    studied = _studied(
        packs, base, split=split, data=data, relations=relations, format=format, seed=seed
    )
    # Drawing takes seconds to import, and none of the other commands needs it.
    from training.study.report import PAGE, Report, write_study  # noqa: PLC0415
    from training.study.run import run_study  # noqa: PLC0415

    sections, studies, left_out = [], {}, {}
    for which in (name for name in STUDIES if name in chosen):
        with console.status(f"studying {which}") as status:

            def tell(text: str, status: Status = status) -> None:
                status.update(f"learning {text}")

            try:
                studies[which], section = run_study(
                    which,
                    studied,
                    out,
                    seeds=tuple(learn_seeds) or (seed,),
                    epochs=epochs,
                    tell=tell,
                )
            except NotApplicableError as error:
                left_out[which] = str(error)
                console.print(f"{which}: left out, as {error}", markup=False)
                continue
        sections.append(section)
        console.print(f"{which}: done")
    origins = tuple(studied.origins)
    write_study(Report(studied.provenance, origins, studies, sections, left_out), out)
    console.print(f"the study is {out / PAGE}")


def _chosen(only: Sequence[str]) -> tuple[str, ...]:
    named = [part.strip() for text in only for part in text.split(",") if part.strip()]
    for one in named:
        if one not in STUDIES:
            raise DataError(f"no study {one!r:.80}; there are {', '.join(STUDIES)}")
    return tuple(named) or tuple(one for one in STUDIES if one != LEARNS)


def _studied(
    packs: Sequence[Path],
    base: str | None,
    *,
    split: Path | None,
    data: Sequence[Path],
    relations: Sequence[str],
    format: Format,
    seed: int,
) -> Studied:
    opened = [MaskPack.open(pack) for pack in packs]
    first = opened[0]
    if unknown := sorted(set(relations) - set(first.relations)):
        raise DataError(
            f"{first.folder} has no {', '.join(unknown)}; its relations are "
            f"{', '.join(first.relations)}"
        )
    wanted = set(relations or first.relations)
    masks = [_masks_of(pack, wanted) for pack in opened]
    model = load_base(base or first.base_model)
    templates, most = pack_templates(masks[0]), object_tokens_of(masks[0])
    if split is not None:
        parts = load_split(split)
    else:
        names = sorted(masks[0])
        facts = read_facts(model, data, templates, format=format, relations=names, most=most)
        parts = split_by_fact(facts.triples, seed=seed)
    return Studied(
        base=model,
        masks=masks[0],
        further_packs=masks[1:],
        split=parts,
        templates=templates,
        objects=objects_to_rank(model, (*parts.train, *parts.validation, *parts.test)),
        seed=seed,
        provenance=collect_provenance(
            seed=seed,
            data_digest=parts.digest,
            split_digest=parts.digest,
            base_digest=model.digest,
        ),
        origins=[
            PackOrigin(
                name=pack.name,
                folder=str(pack.folder),
                masks={relation: mask.digest for relation, mask in of_pack.items()},
                seeds=tuple(sorted({mask.metadata.seed for mask in of_pack.values()})),
                data=tuple(sorted({mask.metadata.data_digest for mask in of_pack.values()})),
            )
            for pack, of_pack in zip(opened, masks, strict=True)
        ],
    )


def _masks_of(pack: MaskPack, wanted: set[str]) -> dict[str, RelationMask]:
    return {relation: pack.load(relation) for relation in pack.relations if relation in wanted}
