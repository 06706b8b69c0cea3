"""How much the masks of a pack share, beside chance; and where they remove weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure as Canvas

from masks import (
    RelationMask,
    layer_of,
    overlap_matrix,
    role_of,
    sparsity_by_layer,
    sparsity_by_matrix,
    sparsity_by_role,
)
from plm import ROLES
from training.study.figures import drawing, heat_map, svg_of
from training.study.section import Figure, Section, Table, percent, square_table

NAME = "overlap"
TITLE = "What the masks share, and where they prune"


@dataclass(frozen=True)
class RelationSparsity:
    """Share of weights removed by one mask.

    Attributes:
        relation: its name.
        overall: over all its weights.
        layers: by layer, ordered as `OverlapStudy.layers`; 0 where the mask has no weight.
        roles: by matrix type, ordered as `OverlapStudy.roles`.
    """

    relation: str
    overall: float
    layers: tuple[float, ...]
    roles: tuple[float, ...]


@dataclass(frozen=True)
class OverlapStudy:
    """Agreement of each pair of masks, and their sparsities.

    Attributes:
        relations: names, sorted.
        removed: (n, n) Jaccard index of the removed weights of each pair.
        chance: (n, n) what masks that remove as much of each matrix at random would have.
        layers: layers that are masked, counted from 1.
        roles: matrix types that are masked.
        sparsities: one for each relation.
        grid: (roles, layers) mean sparsity over relations of each matrix.
    """

    relations: tuple[str, ...]
    removed: tuple[tuple[float, ...], ...]
    chance: tuple[tuple[float, ...], ...]
    layers: tuple[int, ...]
    roles: tuple[str, ...]
    sparsities: tuple[RelationSparsity, ...]
    grid: tuple[tuple[float, ...], ...]

    @property
    def pairs(self) -> tuple[tuple[str, str, float, float], ...]:
        """(relation, relation, removed, chance) of each pair, furthest above chance first."""
        found = [
            (one, other, self.removed[i][j], self.chance[i][j])
            for i, one in enumerate(self.relations)
            for j, other in enumerate(self.relations[:i])
        ]
        return tuple(sorted(found, key=lambda pair: pair[3] - pair[2]))


def measure_overlap(masks: Sequence[RelationMask]) -> OverlapStudy:
    """Count on the packed bits; no model is needed.

    Raises:
        MaskMismatchError: the masks cover different matrices.
        MaskValueError: there are no masks.
    """
    masks = sorted(masks, key=lambda mask: mask.relation)
    removed = overlap_matrix(masks).removed
    chance = [[1.0 if a is b else chance_overlap(a, b) for b in masks] for a in masks]
    names = masks[0].shapes
    layers = sorted({layer for name in names if (layer := layer_of(name)) is not None})
    # In the order of the model's parts, which the names of a mask do not have.
    roles = [role for role in ROLES if role in {role_of(name) for name in names}]
    by_matrix = [sparsity_by_matrix(mask) for mask in masks]
    place = {(role_of(name), layer_of(name)): name for name in names}
    grid = tuple(
        tuple(
            float(np.mean([shares[place[role, layer]] for shares in by_matrix]))
            if (role, layer) in place
            else 0.0
            for layer in layers
        )
        for role in roles
    )
    return OverlapStudy(
        relations=tuple(mask.relation for mask in masks),
        removed=_rows(removed.tolist()),
        chance=_rows(chance),
        layers=tuple(layers),
        roles=tuple(roles),
        sparsities=tuple(_sparsity(mask, layers, roles) for mask in masks),
        grid=grid,
    )


def chance_overlap(a: RelationMask, b: RelationMask) -> float:
    """Jaccard index that two masks may expect which remove as much of each matrix at random.

    Of n weights with shares p and q removed, n p q are expected in both and n (p + q - p q) in
    either; summed over the matrices, their ratio. 1 if neither removes any.
    """
    first, second = sparsity_by_matrix(a), sparsity_by_matrix(b)
    both = either = 0.0
    for name, (rows, columns) in a.shapes.items():
        p, q = first[name], second[name]
        both += rows * columns * p * q
        either += rows * columns * (p + q - p * q)
    return both / either if either else 1.0


def draw_overlap(study: OverlapStudy) -> str:
    """Two heat maps: the agreement of each pair, and how many times that of chance it is."""
    removed, chance = np.array(study.removed), np.array(study.chance)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(chance > 0, removed / chance, np.nan)
    for values in (removed, ratio):
        np.fill_diagonal(values, np.nan)
    size = 2.2 + 0.42 * len(study.relations)
    with drawing("overlap-pairs"):
        canvas = Canvas(figsize=(2 * size, size), layout="constrained")
        left, right = canvas.subplots(1, 2)
        heat_map(left, removed, study.relations, study.relations, title="Jaccard, removed weights")
        heat_map(
            right,
            ratio,
            study.relations,
            study.relations,
            title="times what chance gives",
            digits=1,
            center=1,
        )
        return svg_of(
            canvas,
            name="overlap-pairs",
            title="Agreement of each pair of masks on the weights they remove",
            description=_summary(study),
        )


def draw_sparsity(study: OverlapStudy) -> str:
    """A heat map of the mean sparsity of each matrix."""
    with drawing("overlap-sparsity"):
        canvas = Canvas(
            figsize=(2.5 + 0.6 * len(study.layers), 1 + 0.35 * len(study.roles)),
            layout="constrained",
        )
        axes = canvas.subplots()
        columns = [str(layer) for layer in study.layers]
        heat_map(
            axes,
            100 * np.array(study.grid),
            [role.replace("_", " ") for role in study.roles],
            columns,
            title="weights removed, %",
            digits=1,
            vmin=0,
        )
        axes.set_xlabel("layer")
        return svg_of(
            canvas,
            name="overlap-sparsity",
            title="Share of weights removed by layer and matrix type",
            description="Mean over relations, in per cent; the table below has the numbers.",
        )


def overlap_section(study: OverlapStudy) -> Section:
    """The part of the page."""
    layers = tuple(f"layer {layer}" for layer in study.layers)
    figures = [Figure(draw_sparsity(study), "Weights removed, mean over the relations' masks.")]
    tables = [
        Table(
            "Weights removed by each mask, in per cent",
            ("relation", "all", *layers, *(role.replace("_", " ") for role in study.roles)),
            tuple(
                (one.relation, *map(percent, (one.overall, *one.layers, *one.roles)))
                for one in study.sparsities
            ),
        )
    ]
    if len(study.relations) > 1:
        figures.insert(
            0, Figure(draw_overlap(study), "Left: agreement. Right: beside chance (1: the same).")
        )
        tables += [
            square_table("Jaccard index, removed weights", "", study.relations, study.removed),
            square_table("The same, expected by chance", "", study.relations, study.chance),
        ]
    text = (
        "The Jaccard index of two masks is the share of weights that both remove, of those that "
        "either removes. Chance is what two masks would have that remove as many weights of each "
        "matrix as these do, at random places. Masks learned from one start (the same seed) share "
        "what the start removed and training left removed: agreement above chance is not yet "
        "kinship of relations; what tells relations apart is the difference between pairs.",
        _summary(study),
    )
    return Section(NAME, TITLE, text, tuple(figures), tuple(tables))


def _sparsity(mask: RelationMask, layers: Sequence[int], roles: Sequence[str]) -> RelationSparsity:
    by_layer, by_role = sparsity_by_layer(mask), sparsity_by_role(mask)
    return RelationSparsity(
        mask.relation,
        mask.sparsity,
        tuple(by_layer.get(layer, 0.0) for layer in layers),
        tuple(by_role.get(role, 0.0) for role in roles),
    )


def _summary(study: OverlapStudy) -> str:
    pairs = study.pairs
    if not pairs:
        return "There is one mask, and no pair to compare."
    most, least = pairs[0], pairs[-1]
    mean, chance = (float(np.mean([pair[place] for pair in pairs])) for place in (2, 3))
    return (
        f"Mean Jaccard index of the removed weights over {len(pairs)} pairs: {mean:.3f}, by chance "
        f"{chance:.3f}. Furthest above chance: {most[0]} and {most[1]} ({most[2]:.3f}, by chance "
        f"{most[3]:.3f}); least: {least[0]} and {least[1]} ({least[2]:.3f}, by chance "
        f"{least[3]:.3f})."
    )


def _rows(values: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, values))
