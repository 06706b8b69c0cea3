"""Nearest neighbours in the base's own vectors: no learning at all.

Of words, by their embeddings; and of facts, by the states of their subjects.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from plm import BaseModel, EncodedBatch, lower_states, object_token_id
from training.data import Triple
from training.evaluation import mean_reciprocal_rank, rank_targets

# Of the softmax over similarities; validation chooses.
_TEMPERATURES = (0.03, 0.05, 0.1, 0.2)
_SUBJECTS_A_PASS = 256


def nearest_objects(base: BaseModel, facts: Sequence[Triple]) -> Tensor:
    """Score every token by how near it is to each fact's subject: (N, V) cosine similarities.

    A subject is the mean of its tokens' embeddings. Tokens of the subject itself score lowest:
    what is asked for is another word.
    """
    words = base.embeddings.words.float()
    tokens = [
        base.tokenizer.backend.encode(fact.subject, add_special_tokens=False).ids for fact in facts
    ]
    subjects = torch.stack([words[torch.tensor(ids)].mean(dim=0) for ids in tokens])
    scores = functional.normalize(subjects, dim=1) @ functional.normalize(words, dim=1).t()
    for row, ids in enumerate(tokens):
        scores[row, torch.tensor(ids)] = -1.0
    return scores


def nearest_facts(
    base: BaseModel,
    train: Sequence[Triple],
    validation: Sequence[Triple],
    facts: Sequence[Triple],
) -> tuple[Tensor, float]:
    """Let the training facts vote for their objects, those with a near subject the loudest.

    (N, V) votes for each fact, that sum to 1, and the mean reciprocal rank that the temperature
    chosen on the validation facts has there. A subject is the mean of its tokens' states, after
    half of the layers and after all, both centred on those of the training facts. All objects are
    single tokens.
    """
    known = _subject_vectors(base, train)
    centre = known.mean(dim=0)
    known = functional.normalize(known - centre, dim=1)
    objects = torch.tensor([object_token_id(base, fact.object) for fact in train])

    def votes(asked: Sequence[Triple], temperature: float) -> Tensor:
        near = functional.normalize(_subject_vectors(base, asked) - centre, dim=1) @ known.t()
        shares = (near / temperature).softmax(dim=1)
        return torch.zeros(len(asked), base.vocab_size).index_add_(1, objects, shares)

    targets = torch.tensor([object_token_id(base, fact.object) for fact in validation])

    def worth(temperature: float) -> float:
        ranks = rank_targets(votes(validation, temperature), targets, absolute=0.0)
        return mean_reciprocal_rank(ranks)

    best = max(_TEMPERATURES, key=worth)
    return votes(facts, best), worth(best)


@torch.inference_mode()
def _subject_vectors(base: BaseModel, facts: Sequence[Triple]) -> Tensor:
    """(N, 2 H) float32 on the CPU."""
    encode = base.tokenizer.backend.encode
    tokens = {fact.subject: encode(fact.subject).ids[: base.max_length] for fact in facts}
    subjects = sorted(tokens, key=lambda subject: len(tokens[subject]))
    vectors: dict[str, Tensor] = {}
    for start in range(0, len(subjects), _SUBJECTS_A_PASS):
        part = subjects[start : start + _SUBJECTS_A_PASS]
        longest = max(len(tokens[subject]) for subject in part)
        ids = torch.zeros(len(part), longest, dtype=torch.long)
        real = torch.zeros_like(ids)
        for row, subject in enumerate(part):
            length = len(tokens[subject])
            ids[row, :length] = torch.tensor(tokens[subject])
            real[row, :length] = 1
        batch = EncodedBatch(ids.to(base.device), real.to(base.device), real.new_zeros(len(part)))
        middle, top = base.layer_count // 2 + 1, base.layer_count + 1
        means = [_mean_states(lower_states(base, batch, layer), real) for layer in (middle, top)]
        vectors |= dict(zip(part, torch.cat(means, dim=1), strict=True))
    return torch.stack([vectors[fact.subject] for fact in facts])


def _mean_states(states: Tensor, real: Tensor) -> Tensor:
    """(B, T, H) -> (B, H), the mean over the tokens, of length 1."""
    counted = real[..., None].float()
    return functional.normalize((states.float().cpu() * counted).sum(1) / counted.sum(1), dim=1)
