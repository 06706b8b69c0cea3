"""How well the unmasked model answers under each of several sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plm import BaseModel, EncodedPrompt, PromptError, Template, encode_prompt, object_token_id
from training.data import DataError, Triple
from training.evaluation import mean_reciprocal_rank
from training.learning import LowerStates, logits_by_pass, ranks_of

# So many facts tell sentences apart; more would only take longer.
MOST_FACTS = 500


@dataclass(frozen=True)
class RankedTemplate:
    """A template and how the unmasked model does with it.

    Attributes:
        text: the template.
        mrr: mean reciprocal rank of the objects over the whole vocabulary.
        log_probability: their mean log-probability, natural.
        facts: on how many facts.
    """

    text: str
    mrr: float
    log_probability: float
    facts: int


def rank_templates(
    base: BaseModel, facts: Sequence[Triple], texts: Sequence[str], *, most: int = MOST_FACTS
) -> tuple[RankedTemplate, ...]:
    """Ask the unmasked model `facts` with each template; the best by MRR first.

    At most `most` facts, evenly taken from all. Facts that make no prompt with one of the templates
    are left out, so that all templates see the same ones.

    Raises:
        DataError: no fact makes a prompt with all the templates.
        TemplateError: a text is no template.
        ObjectError: an object is not one token.
    """
    templates = [Template.parse(text) for text in texts]
    step = max(1, -(-len(facts) // most))
    asked = []
    prompts: list[list[EncodedPrompt]] = []
    for fact in facts[::step]:
        try:
            prompts.append([encode_prompt(base, template, fact.subject) for template in templates])
        except PromptError:
            continue
        asked.append(fact)
    if not asked:
        raise DataError("no fact makes a sentence that the base can read: is a subject too long?")
    targets = torch.tensor([object_token_id(base, fact.object) for fact in asked])
    ranked = [
        _ranked(base, text, list(encoded), targets)
        for text, encoded in zip(texts, zip(*prompts, strict=True), strict=True)
    ]
    return tuple(sorted(ranked, key=lambda one: (-one.mrr, -one.log_probability, one.text)))


def _ranked(
    base: BaseModel, text: str, prompts: Sequence[EncodedPrompt], targets: Tensor
) -> RankedTemplate:
    # The last layer is enough to run twice: it needs the mask positions alone.
    states = LowerStates(base, prompts, base.layer_count)
    layers = base.layers[-1:]
    total = 0.0
    for indices, logits in logits_by_pass(base, states, layers):
        wanted = targets[indices].to(logits.device)[:, None]
        total += float(logits.log_softmax(dim=1).gather(1, wanted).sum())
    ranks = ranks_of(base, states, targets, layers)
    return RankedTemplate(text, mean_reciprocal_rank(ranks), total / len(prompts), len(prompts))
