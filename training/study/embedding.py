"""Whether relations lie apart in the first token's state (LAMP paper, figure 4), with measures."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import seaborn as sns
import torch
from matplotlib.figure import Figure as Canvas
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from plm import LayerWeights, run_layers, span_slots, token_layout
from training.learning import LowerStates, layers_under, multipliers_of, prompts_of
from training.study.figures import drawing, svg_of
from training.study.section import Figure, NotApplicableError, Section, Table, percent
from training.study.studied import Studied

NAME = "embedding"
TITLE = "Whether relations lie apart"
NEUTRAL = "[X] [Y] ."
_FACTS_A_RELATION = 60
_FOLDS = 5


@dataclass(frozen=True)
class Cloud:
    """The states of the first token of all prompts under one condition.

    Attributes:
        condition: e.g. `own wordings, masked`.
        points: (n, 2) their places after t-SNE.
        silhouette: of the relations as clusters, on the full states, -1 to 1, cosine distances.
        probe_accuracy: of logistic regression from a state to its relation, mean over five folds.
    """

    condition: str
    points: tuple[tuple[float, float], ...]
    silhouette: float
    probe_accuracy: float


@dataclass(frozen=True)
class EmbeddingStudy:
    """Clouds of the same prompts.

    Attributes:
        relations: names.
        labels: (n,) which of them each prompt is of.
        majority: share of the commonest relation: what a probe reaches that reads nothing.
        clouds: one for each condition.
    """

    relations: tuple[str, ...]
    labels: tuple[int, ...]
    majority: float
    clouds: tuple[Cloud, ...]


def measure_embedding(studied: Studied) -> EmbeddingStudy:
    """Run test prompts with their objects masked, unmasked and under their relation's mask.

    Raises:
        NotApplicableError: fewer than two relations have `_FOLDS` test facts.
    """
    relations = [
        relation for relation in studied.asked if len(studied.test_facts(relation)) >= _FOLDS
    ]
    if len(relations) < 2:
        raise NotApplicableError(f"fewer than two relations have {_FOLDS} test facts")
    states: dict[str, list[NDArray[np.float32]]] = {}
    labels: list[int] = []
    for number, relation in enumerate(relations):
        mask = studied.masks[relation]
        layers = layers_under(studied.base, mask.metadata.layers, multipliers_of(mask))
        plain = studied.base.layers[mask.metadata.layers[0] - 1 :]
        for wording, template in (
            ("own wordings", studied.templates[relation].evaluation),
            ("one wording for all", NEUTRAL),
        ):
            for how, weights in (("unmasked", plain), ("masked", layers)):
                states.setdefault(f"{wording}, {how}", []).append(
                    _first_token_states(studied, relation, template, weights)
                )
        labels += [number] * len(states["own wordings, masked"][-1])
    found = np.array(labels)
    return EmbeddingStudy(
        relations=tuple(relations),
        labels=tuple(labels),
        majority=float(np.bincount(found).max() / len(found)),
        clouds=tuple(
            _cloud(condition, np.concatenate(parts), found, studied.seed)
            for condition, parts in states.items()
        ),
    )


def draw_embedding(study: EmbeddingStudy) -> str:
    """A scatter for each condition, coloured by relation."""
    with drawing(NAME):
        canvas = Canvas(figsize=(10, 10), layout="constrained")
        axes = canvas.subplots(2, 2)
        colours = sns.color_palette("husl", len(study.relations))
        labels = np.array(study.labels)
        for place, cloud in zip(axes.flat, study.clouds, strict=True):
            points = np.array(cloud.points)
            for number, relation in enumerate(study.relations):
                own = points[labels == number]
                place.scatter(own[:, 0], own[:, 1], s=9, color=colours[number], label=relation)
            place.set_title(cloud.condition)
            place.set_xticks([])
            place.set_yticks([])
        handles, names = axes.flat[0].get_legend_handles_labels()
        canvas.legend(handles, names, loc="outside lower center", ncols=6, markerscale=2)
        return svg_of(
            canvas,
            name=NAME,
            title="States of the first token of test prompts, by t-SNE, coloured by relation",
            description="Distances in the picture say little; the measures below are of the "
            "full states.",
        )


def embedding_section(study: EmbeddingStudy) -> Section:
    """The part of the page."""
    table = Table(
        f"{len(study.labels):,} test prompts of {len(study.relations)} relations",
        ("condition", "silhouette", "linear probe, % right"),
        tuple(
            (cloud.condition, f"{cloud.silhouette:+.3f}", percent(cloud.probe_accuracy))
            for cloud in study.clouds
        ),
    )
    text = (
        "The last layer's state of the first token, for prompts whose object is masked. A relation "
        "has its own sentence, and sentences alone lie apart: so the same subjects are also asked "
        f"in one sentence for all relations, “{NEUTRAL}”, where only the mask and the subjects "
        "differ. Under a mask the relation is then in the weights that the state was made with: "
        "that it can be read off the state shows that the mask changes it, not that the model "
        "understood the sentence better.",
        "The silhouette says how much nearer a state is to those of its own relation than to the "
        "nearest other one (1: far nearer, 0: no difference). The probe is a logistic regression, "
        f"five folds; the commonest relation alone would be right in {percent(study.majority)} %.",
    )
    return Section(NAME, TITLE, text, (Figure(draw_embedding(study), table.caption),), (table,))


@torch.inference_mode()
def _first_token_states(
    studied: Studied, relation: str, template: str, layers: Sequence[LayerWeights]
) -> NDArray[np.float32]:
    """(n, H) of the relation's first test facts."""
    base = studied.base
    first = studied.masks[relation].metadata.layers[0]
    facts = studied.test_facts(relation)[:_FACTS_A_RELATION]
    prompts = prompts_of(base, facts, [template], most=32)
    states = LowerStates(base, prompts.encoded, first)
    packed = states.packed(torch.arange(len(facts)))
    lengths = packed.lengths.tolist()
    slots = span_slots(base, lengths, [0] * len(facts), [1] * len(facts))
    rows = run_layers(base, packed.hidden, layers, token_layout(base, lengths), slots)
    found: NDArray[np.float32] = rows.float().cpu().numpy()
    return found


def _cloud(
    condition: str, states: NDArray[np.float32], labels: NDArray[np.int64], seed: int
) -> Cloud:
    perplexity = min(30.0, (len(states) - 1) / 3)
    points = TSNE(
        2, perplexity=perplexity, metric="cosine", init="pca", random_state=seed
    ).fit_transform(states)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    with warnings.catch_warnings(action="ignore"):  # of a probe that did not quite converge
        accuracy = cross_val_score(probe, states, labels, cv=folds).mean()
    return Cloud(
        condition,
        tuple((float(x), float(y)) for x, y in points),
        float(silhouette_score(states, labels, metric="cosine")),
        float(accuracy),
    )
