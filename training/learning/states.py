"""Facts as prompts, and what the frozen lower layers make of them, computed once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from plm import (
    BaseModel,
    EncodedPrompt,
    ObjectError,
    Template,
    collate,
    encode_prompt,
    lower_states,
    object_token_id,
    tokenise_objects,
)
from training.data import Triple

DEFAULT_STATE_BYTES = 2 * 2**30
_PROMPTS_A_PASS = 256


@dataclass(frozen=True)
class Prompts:
    """Cloze prompts of facts under wordings.

    Attributes:
        encoded: one for each fact and wording, fact by fact.
        objects: (facts, L) token ids of each fact's object, L the most that one has.
        counts: (facts,) how many of them are an object's own.
        wordings: how many prompts a fact has.
    """

    encoded: tuple[EncodedPrompt, ...]
    objects: Tensor
    counts: Tensor
    wordings: int

    @property
    def targets(self) -> Tensor:
        """(facts,) token id of each fact's object.

        Raises:
            ValueError: an object has several tokens.
        """
        if self.objects.shape[1] > 1:
            raise ValueError("an object of several tokens is no single target")
        return self.objects[:, 0]

    def tokens_of(self, facts: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids (S,) of the objects of facts (B,), end to end, and what each counts (S,).

        A fact counts 1 / B, shared alike by its object's tokens.
        """
        counts = self.counts[facts]
        own = torch.arange(self.objects.shape[1]) < counts[:, None]
        shares = (1 / (counts * len(facts)))[:, None].expand(own.shape)
        return self.objects[facts][own], shares[own]


def prompts_of(
    base: BaseModel, facts: Sequence[Triple], templates: Sequence[str], *, most: int = 1
) -> Prompts:
    """Every fact under every template, a mask token for each of its object's tokens.

    Raises:
        PromptError: a subject or template cannot be a prompt.
        ObjectError: an object is more than `most` tokens.
    """
    parsed = [Template.parse(template) for template in templates]
    objects = object_tokens(base, [fact.object for fact in facts], most=most)
    counts = torch.tensor([len(ids) for ids in objects])
    padded = torch.zeros(len(facts), max(map(len, objects), default=1), dtype=torch.long)
    for row, ids in enumerate(objects):
        padded[row, : len(ids)] = torch.tensor(ids)
    return Prompts(
        encoded=tuple(
            encode_prompt(base, template, fact.subject).widened(len(ids))
            for fact, ids in zip(facts, objects, strict=True)
            for template in parsed
        ),
        objects=padded,
        counts=counts,
        wordings=len(parsed),
    )


def object_tokens(base: BaseModel, words: Sequence[str], *, most: int) -> list[tuple[int, ...]]:
    """The tokens of each object.

    Raises:
        ObjectError: one cannot be asked for, or is more than `most` tokens.
    """
    if most == 1:
        return [(object_token_id(base, word),) for word in words]
    found = []
    for ids in tokenise_objects(base, words, most=most):
        if isinstance(ids, ObjectError):
            raise ids
        found.append(ids)
    return found


@dataclass(frozen=True, eq=False)
class StateBatch:
    """What enters the first masked layer.

    Attributes:
        hidden: (B, T, H).
        attention_mask: (B, T), 1 for tokens and 0 for padding.
        mask_positions: (B,) long.
    """

    hidden: Tensor
    attention_mask: Tensor
    mask_positions: Tensor


@dataclass(frozen=True, eq=False)
class PackedStates:
    """What enters the first masked layer, without padding.

    Attributes:
        hidden: (N, H), the prompts' tokens end to end.
        lengths: (B,) long, tokens of each prompt, on the CPU.
        mask_positions: (B,) long, of the first mask token of each prompt, on the CPU.
        masks: (B,) long, mask tokens of each prompt, on the CPU.
    """

    hidden: Tensor
    lengths: Tensor
    mask_positions: Tensor
    masks: Tensor


class LowerStates:
    """States of prompts below the first masked layer, kept end to end without padding.

    Prompts whose states would take more than `max_bytes` are not kept but run through the lower
    layers again each time: slower, never out of memory. `only` (N,) are the indices of the prompts
    that will be asked for; None means all.
    """

    def __init__(
        self,
        base: BaseModel,
        encoded: Sequence[EncodedPrompt],
        first_layer: int,
        *,
        only: Tensor | None = None,
        max_bytes: int = DEFAULT_STATE_BYTES,
    ) -> None:
        self._base = base
        self._encoded = encoded
        self._first_layer = first_layer
        self.lengths = torch.tensor([len(prompt.input_ids) for prompt in encoded])
        wanted = torch.arange(len(encoded)) if only is None else only.unique()
        kept = torch.zeros_like(self.lengths).index_copy_(0, wanted, self.lengths[wanted])
        self._starts = kept.cumsum(0) - kept
        self._positions = torch.tensor([prompt.mask_position for prompt in encoded])
        self._masks = torch.tensor([prompt.masks for prompt in encoded])
        size = int(kept.sum()) * base.hidden_size * base.dtype.itemsize
        self._states = self._run_all(wanted) if size <= max_bytes else None

    @property
    def kept_tokens(self) -> int:
        """Tokens whose states are kept."""
        return 0 if self._states is None else len(self._states)

    def batch(self, indices: Tensor) -> StateBatch:
        """The states of the prompts at (B,) indices, padded to the longest of them."""
        device = self._base.device
        lengths = self.lengths[indices]
        longest = int(lengths.max())
        within = torch.arange(longest)[None, :]
        real = within < lengths[:, None]
        if self._states is None:
            hidden = self._run(indices.tolist())
        else:
            # Padding reads the prompt's own last token: finite, and hidden by the mask.
            places = self._starts[indices][:, None] + within.minimum(lengths[:, None] - 1)
            hidden = self._states[places.to(device)]
        return StateBatch(hidden, real.long().to(device), self._positions[indices].to(device))

    def packed(self, indices: Tensor) -> PackedStates:
        """The states of the prompts at (B,) indices, end to end."""
        lengths = self.lengths[indices]
        within = torch.arange(int(lengths.max()))[None, :]
        real = within < lengths[:, None]
        if self._states is None:
            hidden = self._run(indices.tolist())[real.to(self._base.device)]
        else:
            places = (self._starts[indices][:, None] + within)[real]
            hidden = self._states[places.to(self._base.device)]
        return PackedStates(hidden, lengths, self._positions[indices], self._masks[indices])

    def _run(self, indices: Sequence[int]) -> Tensor:
        batch = collate([self._encoded[index] for index in indices], self._base)
        return lower_states(self._base, batch, self._first_layer)

    def _run_all(self, wanted: Tensor) -> Tensor:
        total = int(self.lengths[wanted].sum())
        states = torch.empty(
            total, self._base.hidden_size, dtype=self._base.dtype, device=self._base.device
        )
        # By length, so that a pass pads little.
        by_length = wanted[self.lengths[wanted].argsort(stable=True)]
        for indices in by_length.split(_PROMPTS_A_PASS):
            hidden = self._run(indices.tolist())
            for row, index in enumerate(indices.tolist()):
                start, length = int(self._starts[index]), int(self.lengths[index])
                states[start : start + length] = hidden[row, :length]
        return states
