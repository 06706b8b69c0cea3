"""Nearest neighbours in the base's own word embeddings: no learning at all."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from plm import BaseModel
from training.data import Triple


def nearest_objects(base: BaseModel, facts: Sequence[Triple]) -> Tensor:
    """Score every token by how near it is to each fact's subject: (N, V) cosine similarities.

    A subject is the mean of its tokens' embeddings. Tokens of the subject itself score lowest:
    what is asked for is another word.
    """
    words = base.model.get_input_embeddings().weight.detach().float()  # type: ignore[operator]
    tokens = [
        base.tokenizer.backend_tokenizer.encode(fact.subject, add_special_tokens=False).ids
        for fact in facts
    ]
    subjects = torch.stack([words[torch.tensor(ids)].mean(dim=0) for ids in tokens])
    scores = functional.normalize(subjects, dim=1) @ functional.normalize(words, dim=1).t()
    for row, ids in enumerate(tokens):
        scores[row, torch.tensor(ids)] = -1.0
    return scores
