"""Text that has nothing to do with a relation: what the unmasked model answers there is to stay."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from plm import BaseModel, EncodedPrompt
from training.learning.scoring import logits_by_pass
from training.learning.states import LowerStates, PackedStates

# The words that hold nearly all of the probability; the others count as one.
_WORDS = 64
_LONGEST = 64  # tokens of a sentence
_LEAST = 5  # special ones included: a mask needs some context


class Reminders:
    """Sentences with a token masked, and what the unmasked model answers there.

    Args:
        base: the frozen base.
        encoded: the sentences, see `reminders_of`.
        first_layer: the first that a mask covers, counted from 1.

    Raises:
        ValueError: no sentences.
    """

    def __init__(self, base: BaseModel, encoded: Sequence[EncodedPrompt], first_layer: int) -> None:
        if not encoded:
            raise ValueError(f"no sentence of {_LEAST - 2} to {_LONGEST - 2} tokens to remember")
        self._states = LowerStates(base, encoded, first_layer)
        words = min(_WORDS, base.vocab_size - 1)
        self._words = torch.zeros(len(encoded), words, dtype=torch.long, device=base.device)
        self._shares = torch.zeros(len(encoded), words, device=base.device)
        layers = base.layers[first_layer - 1 :]
        for indices, logits in logits_by_pass(base, self._states, layers):
            shares, tokens = logits.softmax(dim=1).topk(words)
            places = indices.to(base.device)
            self._words[places], self._shares[places] = tokens, shares

    def __len__(self) -> int:
        return len(self._words)

    def packed(self, indices: Tensor) -> PackedStates:
        """The sentences at (B,) indices, as they enter the first masked layer."""
        return self._states.packed(indices)

    def divergence(self, logits: Tensor, indices: Tensor) -> Tensor:
        """Mean Kullback-Leibler divergence from the unmasked model's answers, a scalar, in nats.

        Over its likeliest words and all others as one, from logits (B, V) of the sentences at
        (B,) indices.
        """
        places = indices.to(logits.device)
        shares = self._shares[places]
        ours = logits.float().log_softmax(dim=1).gather(1, self._words[places])
        rest = _rest(shares.sum(dim=1))
        of_words = (shares * (shares.clamp(min=1e-12).log() - ours)).sum(dim=1)
        of_rest = rest * (rest.log() - _rest(ours.exp().sum(dim=1)).log())
        return (of_words + of_rest).mean()


def reminders_of(
    base: BaseModel, sentences: Iterable[str], *, count: int, seed: int
) -> list[EncodedPrompt]:
    """`count` of the sentences, or all if there are fewer, each with a random token masked.

    Sentences that are too short, too long or hold a mask token are passed over. The same seed and
    sentences give the same prompts; memory does not grow with the number of sentences.
    """
    random = torch.Generator().manual_seed(seed)
    special = base.tokenizer.special_ids
    chosen: list[str] = []
    # Reservoir sampling (Vitter 1985, algorithm R), so that a long text is read once.
    for number, sentence in enumerate(sentences):
        if number < count:
            chosen.append(sentence)
            continue
        place = int(torch.randint(number + 1, (), generator=random))
        if place < count:
            chosen[place] = sentence
    prompts = []
    encode = base.tokenizer.backend.encode
    for sentence in chosen:
        ids = encode(sentence).ids
        places = [place for place, token in enumerate(ids) if token not in special]
        if not _LEAST <= len(ids) <= min(_LONGEST, base.max_length) or base.mask_token_id in ids:
            continue
        if not places:
            continue
        place = places[int(torch.randint(len(places), (), generator=random))]
        ids[place] = base.mask_token_id
        prompts.append(EncodedPrompt(sentence, tuple(ids), place))
    return prompts


def joined(first: PackedStates, second: PackedStates) -> PackedStates:
    """The prompts of both, end to end."""
    return PackedStates(
        torch.cat([first.hidden, second.hidden]),
        torch.cat([first.lengths, second.lengths]),
        torch.cat([first.mask_positions, second.mask_positions]),
        torch.cat([first.masks, second.masks]),
    )


def reminders_a_step(batch_size: int) -> int:
    """How many sentences go with a batch of so many facts."""
    return math.ceil(batch_size / 4)


def _rest(share: Tensor) -> Tensor:
    return (1 - share).clamp(min=1e-6)
