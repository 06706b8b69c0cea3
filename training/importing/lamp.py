"""Turns a file of LAMP's into a mask: which matrix each list item is, and which weights stay."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masks import RelationMask
from plm import BaseModel, Role, maskable_weights
from training.data import RelationTemplates
from training.importing.errors import LampError
from training.importing.names import LampName, parse_lamp_name
from training.importing.scores import LampScores, read_lamp_scores

# The order within a layer in LAMP's files, of every architecture. It is a fact of those files:
# `plm.architectures.ROLES` may be ordered otherwise one day.
LAMP_ORDER: tuple[Role, ...] = (
    "query",
    "key",
    "value",
    "attention_output",
    "feed_forward_in",
    "feed_forward_out",
)


def relation_of(path: Path) -> str:
    """The relation that a file's name gives.

    Raises:
        LampError: the name is not as LAMP's are, or numbers the relation instead of naming it.
    """
    name = parse_lamp_name(path.name)
    if name is None:
        raise LampError(
            f"{path}: its name does not say the relation, as in "
            "bert-base-uncased_IsA_36_6_11_init>normal_hard.pickle; give --relation"
        )
    if name.relation.isdigit():
        raise LampError(
            f"{path}: its name has the relation's number, {name.relation}, which stands for a "
            "place in the list of the run that wrote it; give the relation's name by --relation"
        )
    return name.relation


def lamp_mask(
    base: BaseModel,
    path: Path,
    *,
    templates: RelationTemplates,
    relation: str | None = None,
    layers: tuple[int, int] | None = None,
) -> RelationMask:
    """Read a file of LAMP's as the mask of a relation on `base`.

    A weight stays where its score is above 0. LAMP keeps sigmoid(score) > 0.5, where masks learned
    here keep >= 0.5: a score of exactly 0 is a weight removed.

    Args:
        base: the model that the scores were learned on.
        path: the file.
        templates: wordings of the relation; that of evaluation is the mask's default.
        relation: its name; by default what the file's name gives.
        layers: first and last masked layer, counted from 1; by default those in the file's name,
            or else as many of the last layers as there are scores for.

    Raises:
        LampError: the file is refused (`read_lamp_scores`), is of another architecture, has
            another number of matrices or another shape than the base's layers have, or holds
            scores that are no finite numbers.
        MaskValueError: the relation's name cannot be a mask's.
    """
    relation = relation or relation_of(path)
    name = parse_lamp_name(path.name)
    _check_family(base, path, name)
    scores = read_lamp_scores(path)
    layers = layers or _layers(base, path, name, len(scores.matrices))
    method = "deterministic" if name is None or name.hard else "stochastic"
    return RelationMask.from_keep(
        _kept(base, path, scores, layers),
        relation=relation,
        base_model=base.name,
        base_digest=base.digest,
        architecture=base.architecture.model_type,
        layers=layers,
        method=method,
        threshold=0.5,
        templates=tuple(dict.fromkeys((templates.evaluation, *templates.training))),
        data_name=f"LAMP (Ren & Zhu), imported from {path.name}",
        data_digest=scores.digest,
        seed=0,  # the files do not say
        validation={},
        tool_version=version("relata"),
        settings={"keeps": "score > 0"}
        | ({} if name is None else {"lamp_model": name.model, "scores_start": name.start}),
    )


def _check_family(base: BaseModel, path: Path, name: LampName | None) -> None:
    # BERT, RoBERTa and MPNet of one size have the same shapes, so nothing below would tell them.
    model_type = base.architecture.model_type
    if name is not None and name.family not in (None, model_type):
        raise LampError(
            f"{path}: is for {name.model}, a {name.family}, but base {base.name} is a {model_type}"
        )


def _layers(base: BaseModel, path: Path, name: LampName | None, matrices: int) -> tuple[int, int]:
    if name is not None:
        if name.matrices != matrices:
            raise LampError(f"{path}: holds {matrices} matrices, but its name says {name.matrices}")
        return name.layers
    count, rest = divmod(matrices, len(LAMP_ORDER))
    if rest or count > base.layer_count:
        raise LampError(
            f"{path}: holds {matrices} matrices; right would be {len(LAMP_ORDER)} for each masked "
            f"layer, and {base.name} has {base.layer_count} layers"
        )
    return base.layer_count - count + 1, base.layer_count


def _kept(
    base: BaseModel, path: Path, scores: LampScores, layers: tuple[int, int]
) -> dict[str, NDArray[np.bool_]]:
    """(out, in) bool by the base's parameter name, True where the weight is kept."""
    first, last = layers
    if not 1 <= first <= last <= base.layer_count:
        raise LampError(
            f"{path}: is for layers {first} to {last} (counted from 1), but {base.name} has "
            f"layers 1 to {base.layer_count}"
        )
    places = [(layer, role) for layer in range(first, last + 1) for role in LAMP_ORDER]
    if len(scores.matrices) != len(places):
        raise LampError(
            f"{path}: holds {len(scores.matrices)} matrices; right would be {len(places)}, "
            f"{len(LAMP_ORDER)} for each of the layers {first} to {last}"
        )
    names = {
        (weight.layer, weight.role): weight.name
        for weight in maskable_weights(base.architecture, first, last)
    }
    shapes = base.shapes(first, last)
    # All shapes before the first matrix is read through: they need no memory.
    for index, (place, matrix) in enumerate(zip(places, scores.matrices, strict=True)):
        _check_shape(f"{path}: item {index}", place, tuple(matrix.shape), shapes[names[place]])
    return {
        names[place]: _keep(f"{path}: item {index}", matrix)
        for index, (place, matrix) in enumerate(zip(places, scores.matrices, strict=True))
    }


def _check_shape(
    where: str, place: tuple[int, Role], found: tuple[int, ...], right: tuple[int, int]
) -> None:
    if found == right:
        return
    layer, role = place
    hint = "; it is transposed" if found == right[::-1] else ""
    raise LampError(
        f"{where}, the {role} scores of layer {layer}, has shape {found}; right would be "
        f"{right}{hint}"
    )


def _keep(where: str, scores: Tensor) -> NDArray[np.bool_]:
    if not bool(torch.isfinite(scores).all()):
        raise LampError(f"{where} holds scores that are no finite numbers")
    keep: NDArray[np.bool_] = (scores > 0).numpy()
    return keep
