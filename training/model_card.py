"""The README of a pack: what it is, what it is worth, how to serve it, where it ends."""

import json
from collections.abc import Sequence

from masks import MaskPack, RelationMask
from plm import embedded_bases
from training.evaluation import Evaluation, relation_sentences, verdicts
from training.evaluation.metrics import MRR
from training.evaluation.report import markdown_table
from training.evaluation.summary import Row, by_relation
from training.evaluation.verdict import JUDGED, LEAST_FACTS
from training.learning_curve import LearningCurve

CARD = "README.md"

_LIMITS = (
    "An answer is a word that the base model finds likely under the mask, not a checked fact.",
    "Answers are single tokens of the base; masks were tested on objects of one token only.",
    "The figures are of held-out facts of the same data: other subjects, other wordings and other "
    "times may do worse. What the data is wrong or one-sided about, the masks are too.",
    "The masks mean something for the base with the digest above alone; any other is refused.",
    "The terms of the data and of the base apply; this file does not know them.",
)


def model_card(pack: MaskPack, evaluation: Evaluation, curves: Sequence[LearningCurve] = ()) -> str:
    """The card as Markdown, with the front matter that the hub reads.

    `evaluation` is of the pack's masks on test facts.

    Raises:
        MaskFileError: a mask of the pack is refused.
    """
    masks = pack.load_all()
    rows = {(row.relations[0], row.system): row for row in by_relation(evaluation)}
    sections = [
        _front_matter(),
        f"# {pack.name}",
        f"Relation masks for `{pack.base_model}`: {_relations(len(masks))}, each "
        f"{_bits(masks)} for each weight of the base's upper layers. Relata serves them: "
        "the base stays as it is, and a request names the relation whose mask it is asked under.",
        _origin(pack, masks, evaluation),
        "## Relations",
        markdown_table(
            [
                "relation",
                "train / validation / test",
                "removed",
                "MRR on test facts",
                "unmasked",
                "sentence",
            ],
            [_relation_row(mask, rows) for mask in masks.values()],
        ),
        "In brackets: 95 % bootstrap intervals over the test facts. All tables are in "
        "[report.md](report.md).",
    ]
    if sentences := relation_sentences(verdicts(evaluation)):
        sections += ["## Are they worth having?", "\n".join(f"- {text}" for text in sentences)]
        sections.append(f"With fewer than {LEAST_FACTS} test facts nothing is called.")
    if curves:
        lines = [f"- {curve.relation}: the curve is {curve.word}" for curve in curves]
        sections += ["## Would more facts help?", "\n".join(lines)]
    sections += ["## Serving", _serving(pack, next(iter(masks.values())))]
    sections += ["## Limits", "\n".join(f"- {limit}" for limit in _LIMITS)]
    return "\n\n".join(sections) + "\n"


def _bits(masks: dict[str, RelationMask]) -> str:
    counts = {mask.bits_per_weight for mask in masks.values()}
    words = " or ".join(word for bits, word in ((1, "one"), (8, "eight")) if bits in counts)
    return f"{words} bit{'' if counts == {1} else 's'}"


def _front_matter() -> str:
    tags = ["relata", "masked-lm", "relation-masks", "knowledge-base-completion"]
    return "---\nlibrary_name: relata\ntags:\n" + "\n".join(f"- {tag}" for tag in tags) + "\n---"


def _origin(pack: MaskPack, masks: dict[str, RelationMask], evaluation: Evaluation) -> str:
    names = dict.fromkeys(mask.metadata.data_name for mask in masks.values())
    origin = evaluation.provenance
    return "\n".join(
        [
            f"- base: `{pack.base_model}`, `{pack.base_digest}`",
            f"- data: {'; '.join(names)}, `{origin.data_digest}`",
            f"- split: `{origin.split_digest}`, seed {origin.seed}",
            f"- made: {origin.date}, "
            + ", ".join(f"{name} {version}" for name, version in origin.versions),
        ]
    )


def _relation_row(mask: RelationMask, rows: dict[tuple[str, str], Row]) -> list[str]:
    facts = mask.metadata.facts
    return [
        mask.relation,
        " / ".join(f"{facts.get(part, 0):,}" for part in ("train", "validation", "test")),
        f"{mask.sparsity:.1%}",
        _mrr(rows.get((mask.relation, JUDGED))),
        _mrr(rows.get((mask.relation, "unmasked"))),
        f"`{mask.metadata.templates[0]}`",
    ]


def _mrr(row: Row | None) -> str:
    if row is None:
        return "not tested"
    interval = row.intervals[MRR]
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _serving(pack: MaskPack, mask: RelationMask) -> str:
    base = pack.base_model if pack.base_model in embedded_bases() else "PATH-OR-ID-OF-THE-BASE"
    question = json.dumps({"subject": "linen", "relation": mask.relation, "top_k": 5})
    return (
        "With this folder as `pack`:\n\n"
        "```sh\n"
        "relata masks verify --pack pack\n"
        f"relata serve --packs pack --base {base}\n"
        "curl -s http://127.0.0.1:8000/complete -H 'Content-Type: application/json' \\\n"
        f"  -d '{question}'\n"
        "```\n\n"
        "(`linen` is a subject for the example's sake: name one of yours.)"
    )


def _relations(count: int) -> str:
    return f"{count:,} relation{'' if count == 1 else 's'}"
