"""What the mask token attends to, before and after masking (LAMP paper, figures 1 and 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure as Canvas
from torch import Tensor
from torch.nn import functional

from plm import (
    BaseModel,
    EncodedPrompt,
    LayerWeights,
    attention_bias,
    collate,
    lower_states,
    run_layers,
    token_layout,
)
from training.learning import layers_under, multipliers_of, prompts_of
from training.study.figures import drawing, heat_map, svg_of
from training.study.section import Figure, NotApplicableError, Section, Table
from training.study.studied import Studied

NAME = "attention"
TITLE = "What the mask token attends to"
_PICTURES = 6


@dataclass(frozen=True)
class AttentionExample:
    """One prompt.

    Attributes:
        relation: whose mask it is asked under.
        subject: of the fact.
        object: of the fact.
        tokens: (T,) of the prompt.
        layers: those that are masked, counted from 1.
        unmasked: (layers, T) attention of the mask token, mean over heads; each row sums to 1.
        masked: the same under the mask.
        answers: the first word, unmasked and masked.
    """

    relation: str
    subject: str
    object: str
    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    unmasked: tuple[tuple[float, ...], ...]
    masked: tuple[tuple[float, ...], ...]
    answers: tuple[str, str]


@dataclass(frozen=True)
class AttentionStudy:
    """An example for each relation, and how much attention moves.

    Attributes:
        examples: the first test fact of each relation.
        moved: total variation distance between the two, mean over examples, by layer.
        layers: of `moved`.
    """

    examples: tuple[AttentionExample, ...]
    moved: tuple[float, ...]
    layers: tuple[int, ...]


def measure_attention(studied: Studied) -> AttentionStudy:
    """Ask the first test fact of each relation, unmasked and masked.

    Raises:
        NotApplicableError: no relation has both a mask and a test fact of one token.
    """
    examples = [_example(studied, name) for name in studied.asked if name not in studied.objects]
    if not examples:
        raise NotApplicableError(
            "no relation of the pack has test facts of one token in this split"
        )
    layers = sorted({layer for example in examples for layer in example.layers})
    moved = [
        float(
            np.mean(
                [
                    np.abs(np.array(one.masked[place]) - np.array(one.unmasked[place])).sum() / 2
                    for one in examples
                    for place, own in enumerate(one.layers)
                    if own == layer
                ]
            )
        )
        for layer in layers
    ]
    return AttentionStudy(tuple(examples), tuple(moved), tuple(layers))


def attention_of(
    base: BaseModel, prompt: EncodedPrompt, first: int, layers: Sequence[LayerWeights]
) -> tuple[Tensor, Tensor]:
    """Attention of the mask token in each of the layers, and the logits.

    (layers, heads, T) and (V,), for a prompt on its own; `layers` go from `first`, counted from 1,
    to the last.
    """
    batch = collate([prompt], base)
    hidden = lower_states(base, batch, first)[0]
    bias = attention_bias(base, batch.attention_mask)
    layout = token_layout(base, [len(hidden)])
    place = prompt.mask_position
    rows = []
    with torch.inference_mode():
        for layer in layers:
            query = functional.linear(hidden[place], layer.query.weight, layer.query.bias)
            key = functional.linear(hidden, layer.key.weight, layer.key.bias)
            size = len(query) // base.heads
            # (heads, T): each head has its own part of the states.
            scores = torch.einsum(
                "hs,ths->ht", query.view(base.heads, size), key.view(-1, base.heads, size)
            )
            scores = scores * size**-0.5
            if bias is not None:
                # (1, heads or 1, T or 1, T): the row of the mask token, for every head.
                scores = scores + bias[0, :, place if bias.shape[2] > 1 else 0]
            rows.append(scores.softmax(dim=1))
            hidden = run_layers(base, hidden, [layer], layout)
        logits = base.head(hidden[place][None])[0]
    return torch.stack(rows).float().cpu(), logits.float().cpu()


def draw_attention(example: AttentionExample) -> str:
    """Two heat maps, layers by tokens."""
    name = f"{NAME}-{example.relation}"
    with drawing(name):
        canvas = Canvas(
            figsize=(3 + 0.9 * len(example.tokens), 1 + 0.35 * len(example.layers)),
            layout="constrained",
        )
        pairs = ((example.unmasked, "unmasked"), (example.masked, "masked"))
        for axes, (values, title) in zip(canvas.subplots(1, 2), pairs, strict=True):
            heat_map(
                axes,
                values,
                [str(layer) for layer in example.layers],
                example.tokens,
                title=title,
                vmin=0,
                vmax=1,
            )
            axes.set_ylabel("layer")
        return svg_of(
            canvas,
            name=name,
            title=f"Attention of the mask token, {example.relation} of {example.subject}",
            description="Mean over heads, by layer and token, unmasked and under the mask.",
        )


def attention_section(study: AttentionStudy) -> Section:
    """The part of the page."""
    figures = tuple(
        Figure(
            draw_attention(one),
            f"<{one.subject}, {one.relation}, {one.object}>: {one.answers[0]} unmasked, "
            f"{one.answers[1]} masked.",
        )
        for one in study.examples[:_PICTURES]
    )
    tables = (
        Table(
            "How much of the mask token's attention goes elsewhere under the mask (0 to 1)",
            ("", *(f"layer {layer}" for layer in study.layers)),
            (("mean over the examples", *(f"{value:.3f}" for value in study.moved)),),
        ),
        Table(
            "The examples",
            ("relation", "subject", "object", "first word, unmasked", "first word, masked"),
            tuple((one.relation, one.subject, one.object, *one.answers) for one in study.examples),
        ),
    )
    text = (
        "The first test fact of each relation, in its evaluation sentence. A row is a masked "
        "layer; a cell is the share of the mask token's attention that goes to a token, mean over "
        "heads. Single prompts illustrate; they prove nothing.",
    )
    return Section(NAME, TITLE, text, figures, tables)


def _example(studied: Studied, relation: str) -> AttentionExample:
    base, mask = studied.base, studied.masks[relation]
    first, last = mask.metadata.layers
    fact = studied.test_facts(relation)[0]
    (prompt,) = prompts_of(base, [fact], [studied.templates[relation].evaluation]).encoded
    found = [
        attention_of(base, prompt, first, layers)
        for layers in (
            base.layers[first - 1 :],
            layers_under(base, (first, last), multipliers_of(mask)),
        )
    ]
    shown = range(last - first + 1)
    unmasked, masked = (
        tuple(tuple(map(float, attention[place].mean(dim=0))) for place in shown)
        for attention, _ in found
    )
    decode = base.tokenizer.backend.decode
    words = [
        decode([int(logits.argmax())], skip_special_tokens=False).strip() for _, logits in found
    ]
    return AttentionExample(
        relation=relation,
        subject=fact.subject,
        object=fact.object,
        tokens=tuple(
            decode([token], skip_special_tokens=False).strip() for token in prompt.input_ids
        ),
        layers=tuple(range(first, last + 1)),
        unmasked=unmasked,
        masked=masked,
        answers=(words[0], words[1]),
    )
