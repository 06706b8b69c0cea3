"""A training run: facts in, a pack of masks with its report out; resumable between relations."""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

from masks import MANIFEST_NAME, MaskFields, MaskPack, RelationMask, add_to_pack, write_pack
from plm import BaseModel
from training.assessment import Assessed, assess
from training.calibration import Fit, calibrate, measure_masks
from training.data import (
    Split,
    load_split,
    save_split,
    split_by_fact,
)
from training.evaluation import Evaluation, collect_provenance, markdown
from training.facts import Facts, parts_to_learn
from training.learning import (
    Checkpoint,
    LearnConfig,
    LearnedMask,
    LearnProgress,
    Reminders,
    learn_masks,
)
from training.learning_curve import (
    CurveSetting,
    LearningCurve,
    curves_markdown,
    learning_curves,
)
from training.methods import complete_options, generator_of
from training.model_card import CARD, model_card
from training.naming import unfit_names
from training.plan import Plan, RunError, check_settings, key_of
from training.progress import Workload

PACK = "pack"
SPLIT = "split.jsonl"
SETTINGS = "settings.json"
TEMPLATES = "templates.json"
CURVES = "learning-curve.json"
CHECKPOINT = "learning-{}.pt"
REPORT = "report"


@dataclass(frozen=True)
class Event:
    """What a run tells as it goes: which relation, and its progress (None: it is done).

    `share` is how much of the learning that was left at the start is done, over all relations.
    """

    relation: str
    index: int
    relations: int
    share: float = 0.0
    progress: LearnProgress | None = None
    learned: LearnedMask | None = None
    fit: Fit | None = None
    resumed: bool = False


def train(
    base: BaseModel, plan: Plan, out: Path, *, tell: Callable[[Event], None] = lambda _: None
) -> MaskPack:
    """Learn a mask for every relation of the plan into the pack `out`/pack.

    Each mask is in the pack as soon as it is learned, and what is being learned is kept every
    minute or so: killed at any moment, a run loses no more than that, and the same call goes on
    with it. It then makes the same masks, bit for bit on the same machine.

    Raises:
        RunError: `out` holds a run with other settings, or a relation's name fits no mask.
        DataError: a relation has fewer than three facts.
    """
    # Before hours of learning, not after.
    if unfit := unfit_names(fact.relation for fact in plan.facts.triples):
        worst = unfit[0]
        raise RunError(f"{worst.reason}; rename it in the data, for instance {worst.suggestion!r}")
    out.mkdir(parents=True, exist_ok=True)
    check_settings(out / SETTINGS, base, plan)
    split = split_by_fact(plan.facts.triples, seed=plan.seed)
    save_split(split, out / SPLIT)
    further = () if plan.further is None else plan.further.triples
    relations = sorted({fact.relation for fact in split.train})
    folder = out / PACK
    done = set(MaskPack.open(folder).relations) if (folder / MANIFEST_NAME).exists() else set()
    places = {relation: index for index, relation in enumerate(relations)}
    for relation in done & places.keys():
        tell(Event(relation, places[relation], len(relations), resumed=True))
    groups = [
        [parts_to_learn(split, name, further) for name in names]
        for start in range(0, len(relations), plan.together)
        # A group is learned whole or not at all: what is learned side by side goes by the group.
        if not done.issuperset(names := relations[start : start + plan.together])
    ]
    work = Workload(
        [
            len(part.train)
            for group in groups
            for _ in plan.configs
            for parts in group
            for part in parts
        ]
    )
    objects, reminders = plan.objects(base), plan.reminders(base)
    first = 0
    for group in groups:

        def progress(number: int, relation: str, value: LearnProgress, first: int = first) -> None:
            work.tell(first + number, value.step / value.steps)
            tell(Event(relation, places[relation], len(relations), work.share, progress=value))

        checkpoints = [
            Checkpoint(out / CHECKPOINT.format(number), key_of(base, plan, config, group))
            for number, config in enumerate(plan.configs)
        ]
        size = len(plan.configs) * sum(map(len, group))
        for config, learned, parts, part in _learn(
            base,
            plan,
            group,
            objects=objects,
            reminders=reminders,
            checkpoints=checkpoints,
            report=progress,
        ):
            relation = part.train[0].relation
            for number in range(first, first + size):
                work.tell(number, 1.0)  # learning may have ended early
            if relation in done:
                continue
            sources = (
                [plan.facts]
                if part is parts[0] or plan.further is None
                else [plan.facts, plan.further]
            )
            mask = _mask_of(base, plan, config, part, sources=sources, learned=learned)
            fit = calibrate(base, mask, part, further)
            mask = mask.with_calibration(fit.calibration)
            if (folder / MANIFEST_NAME).exists():
                add_to_pack(folder, mask)
            else:
                write_pack(folder, [mask], name=plan.pack_name)
            place = places[relation]
            tell(Event(relation, place, len(relations), work.share, learned=learned, fit=fit))
        first += size
        for checkpoint in checkpoints:
            checkpoint.remove()
    return MaskPack.open(folder)


def evaluate_run(
    base: BaseModel,
    plan: Plan,
    out: Path,
    *,
    tell: Callable[[str], None] = lambda _: None,
    curves: Sequence[LearningCurve] = (),
) -> Evaluation:
    """Assess the run's masks on its test facts, which nothing was chosen on; write the report.

    Ranks and, for masks that are calibrated, how well their probabilities hold. `curves` go into
    the report too, and all of it in short into the pack's README.
    """
    split = load_split(out / SPLIT)
    pack = MaskPack.open(out / PACK)
    provenance = collect_provenance(
        seed=plan.seed,
        data_digest=plan.facts.digest,
        split_digest=split.digest,
        base_digest=base.digest,
    )
    what = Assessed(
        test=split.test,
        train=split.train,
        templates=plan.templates,
        masks=pack.load_all(),
        objects=plan.objects(base),
    )
    further = () if plan.further is None else plan.further.triples
    evaluation = replace(
        assess(base, what, provenance, seed=plan.seed, report=tell),
        calibration=measure_masks(base, what.masks, split, further),
    )
    write_report(evaluation, out, curves)
    # The report travels with the masks it is about.
    for suffix in (".json", ".md"):
        shutil.copyfile(out / f"{REPORT}{suffix}", pack.folder / f"{REPORT}{suffix}")
    (pack.folder / CARD).write_text(model_card(pack, evaluation, curves), encoding="utf-8")
    return evaluation


def curves_of_run(
    base: BaseModel,
    plan: Plan,
    out: Path,
    *,
    tell: Callable[[str, float], None] = lambda _relation, _share: None,
) -> tuple[LearningCurve, ...]:
    """The learning curves of the run's masks, kept in `out`; goes on where it was ended.

    `tell` gets the relation at work and the share of all work that is done.

    Raises:
        DataError: the file of curves in `out` is damaged.
    """
    setting = CurveSetting(
        split=load_split(out / SPLIT),
        masks=MaskPack.open(out / PACK).load_all(),
        templates=plan.templates,
        config=plan.config,
        seed=plan.seed,
        objects=plan.objects(base),
        reminders=plan.reminders(base),
    )
    return learning_curves(base, setting, out / CURVES, tell=tell)


def write_report(
    evaluation: Evaluation, folder: Path, curves: Sequence[LearningCurve] = ()
) -> None:
    """Write report.json (every rank) and report.md (the tables, and the curves if there are)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{REPORT}.json").write_text(evaluation.to_json(), encoding="utf-8")
    text = "\n".join(part for part in (markdown(evaluation), curves_markdown(curves)) if part)
    (folder / f"{REPORT}.md").write_text(text, encoding="utf-8")


def _learn(
    base: BaseModel,
    plan: Plan,
    group: Sequence[Sequence[Split]],
    *,
    objects: Mapping[str, Sequence[str]],
    reminders: Reminders | None,
    checkpoints: Sequence[Checkpoint],
    report: Callable[[int, str, LearnProgress], None],
) -> Iterator[tuple[LearnConfig, LearnedMask, Sequence[Split], Split]]:
    """The mask of each relation with its config, and the parts: all, and that it was learned from.

    A mask is learned under each rate and, with further facts, with and without them, and validation
    chooses: facts of another source help most relations and harm those that it words differently.
    `report` is told which of all these masks, its relation, and where it stands.
    """
    flat = [part for parts in group for part in parts]
    names = [part.train[0].relation for part in flat]
    tried: list[list[LearnedMask]] = []
    for config, checkpoint in zip(plan.configs, checkpoints, strict=True):
        first = len(tried) * len(flat)

        def progress(number: int, value: LearnProgress, first: int = first) -> None:
            report(first + number, names[number], value)

        tried.append(
            learn_masks(
                base,
                [(part, plan.templates[name]) for part, name in zip(flat, names, strict=True)],
                config,
                seed=plan.seed,
                objects=objects,
                reminders=reminders,
                checkpoint=checkpoint,
                report=progress,
            )
        )
    start = 0
    for parts in group:
        choices = [
            (masks[start + place], config, part)
            for masks, config in zip(tried, plan.configs, strict=True)
            for place, part in enumerate(parts)
        ]
        mask, config, part = max(choices, key=lambda choice: choice[0].validation["mrr"])
        yield config, mask, parts, part
        start += len(parts)


def _mask_of(
    base: BaseModel,
    plan: Plan,
    config: LearnConfig,
    part: Split,
    *,
    sources: Sequence[Facts],
    learned: LearnedMask,
) -> RelationMask:
    relation = part.train[0].relation
    # The metadata have fields of their own for these.
    own = ("method", "options", "export")
    common = {key: value for key, value in asdict(config).items() if key not in own}
    options = complete_options(config.method, generator_of(config.method).OPTIONS, config.options)
    wording = plan.templates[relation]
    fields = MaskFields(
        relation=relation,
        base_model=base.name,
        base_digest=base.digest,
        architecture=base.architecture.model_type,
        layers=learned.layers,
        method=config.method,
        threshold=learned.threshold,
        templates=tuple(dict.fromkeys((wording.evaluation, *wording.training))),
        data_name=" + ".join(source.name for source in sources),
        data_digest=part.digest,
        seed=plan.seed,
        validation=learned.validation,
        tool_version=version("relata"),
        settings={
            **common,
            **options,
            "object_tokens": plan.object_tokens,
            "step": learned.step,
            "steps": learned.steps,
        },
        facts={name: len(facts) for name, facts in part.parts()},
    )
    if learned.values is not None:
        return RelationMask.from_values(learned.values, **fields)
    assert learned.keep is not None, "a mask has the one or the other"
    return RelationMask.from_keep(learned.keep, **fields)
