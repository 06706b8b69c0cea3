"""How a relation's mask would do with fewer facts: whether more of them would help."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from masks import RelationMask
from plm import BaseModel
from training.data import DataError, RelationTemplates, Split
from training.evaluation import Interval, mean_interval, paired_interval, reciprocal_rank
from training.evaluation.report import markdown_table
from training.evaluation.verdict import LEAST_FACTS
from training.learning import (
    LearnConfig,
    LearnProgress,
    Multipliers,
    Reminders,
    layers_under,
    learn_masks,
    multipliers_of,
    questions_of,
)
from training.progress import Workload

SHARES = (0.25, 0.5)
# A quarter of fewer is no set to learn from.
LEAST_TRAIN = 16
_BOOTSTRAP_SEED = 0

_NOTE = (
    "MRR on the validation facts, which also chose each mask, so that it is a little too high "
    "alike for all shares. Each mask is learned with the same settings, the smaller sets are parts "
    "of the larger ones, and `--further` facts are not used. `rising`: the last doubling of the "
    "facts helped, so more of them probably will."
)


@dataclass(frozen=True)
class CurvePoint:
    """A mask learned from so many facts, on the validation facts."""

    facts: int
    mrr: Interval


@dataclass(frozen=True)
class LearningCurve:
    """Masks of one relation learned from growing parts of its training facts.

    Attributes:
        relation: its name.
        points: from the fewest facts to all of them.
        gain: MRR with all facts less that with half of them, paired by validation fact.
        validation: how many validation facts there are.
    """

    relation: str
    points: tuple[CurvePoint, ...]
    gain: Interval
    validation: int

    @property
    def word(self) -> str:
        """`rising`, `falling`, `not shown to rise` or `too few facts to tell`."""
        if self.validation < LEAST_FACTS:
            return "too few facts to tell"
        if self.gain.low > 0:
            return "rising"
        return "falling" if self.gain.high < 0 else "not shown to rise"


@dataclass(frozen=True)
class CurveSetting:
    """What the curves are of: the run's split, its masks, templates, settings and seed.

    `objects` are what a relation's objects are ranked among, where not the whole vocabulary;
    `reminders` are there if the settings have a weight for them.
    """

    split: Split
    masks: Mapping[str, RelationMask]
    templates: Mapping[str, RelationTemplates]
    config: LearnConfig
    seed: int
    objects: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reminders: Reminders | None = None


def learning_curves(
    base: BaseModel,
    setting: CurveSetting,
    path: Path,
    *,
    tell: Callable[[str, float], None] = lambda _relation, _share: None,
) -> tuple[LearningCurve, ...]:
    """The curve of each relation that has a mask and facts enough, kept in a JSON file at `path`.

    A curve is in the file as soon as it is there, and is taken from it the next time. `tell` gets
    the relation at work and the share of all work that is done.

    Raises:
        DataError: the file at `path` holds something else.
    """
    found = {curve.relation: curve for curve in load_curves(path)}
    parts = {relation: setting.split.of_relation(relation) for relation in sorted(setting.masks)}
    left = [
        relation
        for relation, part in parts.items()
        if relation not in found and len(part.train) >= LEAST_TRAIN
    ]
    work = Workload([len(parts[relation].train) for relation in left])
    for number, relation in enumerate(left):

        def progress(share: float, number: int = number, relation: str = relation) -> None:
            work.tell(number, share)
            tell(relation, work.share)

        progress(0.0)
        found[relation] = _curve(base, setting, relation, parts[relation], progress)
        progress(1.0)
        _save(list(found.values()), path)
    return tuple(found[relation] for relation in sorted(found))


def curves_markdown(curves: Sequence[LearningCurve]) -> str:
    """The section of a report; empty without curves."""
    if not curves:
        return ""
    heads = ["relation", "validation", *(f"{share:.0%} of the facts" for share in (*SHARES, 1.0))]
    rows = [
        [
            curve.relation,
            f"{curve.validation:,}",
            *(f"{point.facts:,}: {_interval(point.mrr)}" for point in curve.points),
            f"{curve.gain.estimate:+.3f} [{curve.gain.low:+.3f}, {curve.gain.high:+.3f}]",
            curve.word,
        ]
        for curve in curves
    ]
    table = markdown_table([*heads, "all less half", "the curve is"], rows)
    return f"## Learning curve\n\n{table}\n\n{_NOTE}\n"


def load_curves(path: Path) -> tuple[LearningCurve, ...]:
    """The curves of a file that `learning_curves` wrote; none where there is no file.

    Raises:
        DataError: the file holds something else.
    """
    if not path.exists():
        return ()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return tuple(
            LearningCurve(
                relation=record["relation"],
                points=tuple(
                    CurvePoint(point["facts"], Interval(**point["mrr"]))
                    for point in record["points"]
                ),
                gain=Interval(**record["gain"]),
                validation=record["validation"],
            )
            for record in content
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no learning curves ({error}); remove it") from error


def _curve(
    base: BaseModel,
    setting: CurveSetting,
    relation: str,
    part: Split,
    progress: Callable[[float], None],
) -> LearningCurve:
    templates, mask = setting.templates[relation], setting.masks[relation]
    order = np.random.default_rng(setting.seed).permutation(len(part.train))
    sizes = [max(1, round(share * len(order))) for share in SHARES]
    if mask.metadata.data_digest != part.digest:
        # The pack's mask has further facts in it.
        sizes.append(len(order))
    total = sum(sizes)
    masks: list[Multipliers] = []
    for place, size in enumerate(sizes):
        before = sum(sizes[:place])

        def report(_: int, value: LearnProgress, size: int = size, before: int = before) -> None:
            progress((before + size * value.step / value.steps) / total)

        train = tuple(part.train[index] for index in sorted(order[:size].tolist()))
        smaller = Split(train, part.validation, ())
        (learned,) = learn_masks(
            base,
            [(smaller, templates)],
            setting.config,
            seed=setting.seed,
            objects=setting.objects,
            reminders=setting.reminders,
            report=report,
        )
        masks.append(learned.multipliers)
    if len(sizes) == len(SHARES):
        sizes.append(len(order))
        masks.append(multipliers_of(mask))
    layers = mask.metadata.layers
    questions = questions_of(
        base, part.validation, templates.evaluation, layers[0], setting.objects.get(relation)
    )
    values = [reciprocal_rank(questions.ranks(layers_under(base, layers, one))) for one in masks]
    points = tuple(
        CurvePoint(size, mean_interval([of_share], seed=_BOOTSTRAP_SEED))
        for size, of_share in zip(sizes, values, strict=True)
    )
    gain = paired_interval([values[-1]], [values[-2]], seed=_BOOTSTRAP_SEED)
    return LearningCurve(relation, points, gain, len(part.validation))


def _save(curves: Sequence[LearningCurve], path: Path) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    text = json.dumps([asdict(curve) for curve in curves], indent=2) + "\n"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def _interval(interval: Interval) -> str:
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"
