"""Which layers to mask, and how sparse a mask is to start (LAMP paper, figure 2, right)."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
from matplotlib.figure import Figure as Canvas

from masks.files import write_atomically
from training.data import DataError
from training.learning import LearnConfig, learn_masks, preset
from training.study.figures import drawing, heat_map, svg_of
from training.study.section import Figure, NotApplicableError, Section, Table
from training.study.studied import Studied

NAME = "layers"
TITLE = "Which layers to mask, and how sparse to start"
# Of the paper: half of the weights and more are removed at the start.
SPARSITIES = (0.50, 0.54, 0.58, 0.62)
NEAR_IDENTITY = "near-identity"


@dataclass(frozen=True)
class Cell:
    """The masks of one start and one first layer.

    Attributes:
        start: `near-identity`, or the share of weights removed at the start in per cent.
        first_layer: first masked layer, counted from 1.
        mrr: on the validation facts, mean over relations and seeds.
        deviation: of the means over relations between seeds; 0 with one seed.
        sparsity: of the masks, mean.
    """

    start: str
    first_layer: int
    mrr: float
    deviation: float
    sparsity: float


@dataclass(frozen=True)
class LayerStudy:
    """A cell for each start and first layer; `unmasked` is the unmasked model's MRR."""

    relations: tuple[str, ...]
    seeds: tuple[int, ...]
    unmasked: float
    cells: tuple[Cell, ...]


def starts(epochs: int | None = None) -> dict[str, LearnConfig]:
    """The settings of each start: ours, and the paper's with each of its sparsities."""
    paper = preset("paper")
    found = {NEAR_IDENTITY: preset(NEAR_IDENTITY)} | {
        # N(mean, 1) removes what lies below 0.
        f"{share:.0%}": replace(paper, score_mean=-NormalDist().inv_cdf(share))
        for share in SPARSITIES
    }
    if epochs is None:
        return found
    return {name: replace(config, epochs=epochs) for name, config in found.items()}


def measure_layers(
    studied: Studied,
    kept: Path,
    *,
    seeds: Sequence[int],
    epochs: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> LayerStudy:
    """Learn masks from every first layer and start, and try them on the validation facts.

    Each mask's figures are kept in the folder `kept` as soon as it is learned; the same call goes
    on where it was ended.

    Raises:
        NotApplicableError: no relation of the pack has training and validation facts.
        DataError: a file in `kept` is not readable.
    """
    parts = {
        relation: part
        for relation in sorted(studied.masks)
        if (part := studied.split.of_relation(relation)).train and part.validation
    }
    if not parts:
        raise NotApplicableError("no relation of the pack has training facts in this split")
    kept.mkdir(parents=True, exist_ok=True)
    unmasked: dict[str, float] = {}
    cells = []
    for start, settings in starts(epochs).items():
        for first in range(1, studied.base.layer_count + 1):
            config = replace(settings, first_layer=first)
            by_seed, sparsities = [], []
            for seed in seeds:
                values = []
                for relation, part in parts.items():
                    tell(f"{relation}, from layer {first}, start {start}, seed {seed}")
                    what = [relation, part.digest, studied.base.digest, asdict(config), seed]
                    record = _kept(kept, what)
                    if record is None:
                        (mask,) = learn_masks(
                            studied.base,
                            [(part, studied.templates[relation])],
                            config,
                            seed=seed,
                            objects=studied.objects,
                        )
                        sizes = [part.size for part in mask.multipliers.values()]
                        left = [float(part.sum()) for part in mask.multipliers.values()]
                        record = {**mask.validation, "sparsity": 1 - sum(left) / sum(sizes)}
                        _keep(kept, what, record)
                    values.append(record["mrr"])
                    sparsities.append(record["sparsity"])
                    unmasked[relation] = record["unmasked_mrr"]
                by_seed.append(float(np.mean(values)))
            cells.append(
                Cell(
                    start,
                    first,
                    float(np.mean(by_seed)),
                    float(np.std(by_seed)),
                    float(np.mean(sparsities)),
                )
            )
    return LayerStudy(
        tuple(parts), tuple(seeds), float(np.mean(list(unmasked.values()))), tuple(cells)
    )


def draw_layers(study: LayerStudy) -> str:
    """A heat map of MRR, starts by first layers."""
    names = list(dict.fromkeys(cell.start for cell in study.cells))
    firsts = sorted({cell.first_layer for cell in study.cells})
    values = np.full((len(names), len(firsts)), np.nan)
    for cell in study.cells:
        values[names.index(cell.start), firsts.index(cell.first_layer)] = cell.mrr
    with drawing(NAME):
        canvas = Canvas(
            figsize=(2.5 + 0.7 * len(firsts), 1.2 + 0.4 * len(names)), layout="constrained"
        )
        axes = canvas.subplots()
        heat_map(axes, values, names, list(map(str, firsts)), title="validation MRR", digits=3)
        axes.set_xlabel("first masked layer")
        axes.set_ylabel("start")
        return svg_of(
            canvas,
            name=NAME,
            title="Validation MRR by first masked layer and start",
            description="The table below has the numbers.",
        )


def layers_section(study: LayerStudy) -> Section:
    """The part of the page."""
    table = Table(
        f"{len(study.relations)} relations, {len(study.seeds)} seeds; unmasked "
        f"{study.unmasked:.3f}",
        ("start", "first layer", "MRR", "deviation between seeds", "removed, %"),
        tuple(
            (
                cell.start,
                str(cell.first_layer),
                f"{cell.mrr:.3f}",
                f"{cell.deviation:.3f}",
                f"{100 * cell.sparsity:.1f}",
            )
            for cell in study.cells
        ),
    )
    text = (
        "Masks were learned anew from each first layer to the last, from our start and from the "
        "paper's, which removes a share of the weights at random. MRR is on the validation facts, "
        "which also chose each mask.",
    )
    return Section(NAME, TITLE, text, (Figure(draw_layers(study), table.caption),), (table,))


def _place(kept: Path, what: Sequence[object]) -> Path:
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return kept / f"{key[:32]}.json"


def _kept(kept: Path, what: Sequence[object]) -> dict[str, float] | None:
    path = _place(kept, what)
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {name: float(record[name]) for name in ("mrr", "unmasked_mrr", "sparsity")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not readable ({error}); remove it") from error


def _keep(kept: Path, what: Sequence[object], record: dict[str, float]) -> None:
    write_atomically(_place(kept, what), json.dumps(record).encode())
