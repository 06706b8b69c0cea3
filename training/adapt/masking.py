"""Which word pieces are masked: content words more often than function words.

The relations ask for nouns, verbs and adjectives, so a word of corpus share f above the discount d
is chosen with weight sqrt(d / f), the subsampling of frequent words of Mikolov et al. 2013, eq. 5.
All chosen pieces become the mask token: at serving the model sees nothing else there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from training.adapt.config import AdaptConfig


class Masker:
    """Chooses and hides word pieces of padded batches."""

    def __init__(
        self,
        vocabulary: Mapping[str, int],
        special_ids: list[int],
        mask_token_id: int,
        frequencies: NDArray[np.float64],
        config: AdaptConfig,
    ) -> None:
        size = len(frequencies)
        continues = torch.zeros(size, dtype=torch.bool)
        for token, index in vocabulary.items():
            continues[index] = token.startswith("##")
        weight = np.minimum(1.0, np.sqrt(config.frequency_discount / frequencies))
        letters = torch.zeros(size)
        for token, index in vocabulary.items():
            letters[index] = any(map(str.isalnum, token))
        self._continues = continues
        self._weight = torch.from_numpy(weight).float() * letters
        self._weight[special_ids] = 0.0
        self._mask_token_id = mask_token_id
        self._rate = config.mask_rate
        self._piece_weight = config.piece_weight

    def __call__(
        self, ids: torch.Tensor, attention: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(masked ids (B, T), chosen (B, T) bool); every sentence with a word has a choice.

        The expected number chosen is the mask rate times the sentence's length, spread over its
        words by weight.
        """
        following = torch.zeros_like(ids, dtype=torch.bool)
        following[:, :-1] = self._continues[ids[:, 1:]]
        in_pieces = following | self._continues[ids]
        weight = self._weight[ids] * torch.where(in_pieces, self._piece_weight, 1.0) * attention
        wanted = self._rate * attention.sum(1, keepdim=True)
        probability = weight * (wanted / weight.sum(1, keepdim=True).clamp_min(1e-9))
        uniform = torch.rand(ids.shape, generator=generator)
        chosen = uniform < probability.clamp_max(0.8)
        # A sentence left whole teaches nothing: hide the piece that came closest.
        closest = (uniform / probability.clamp_min(1e-9)).argmin(1)
        missing = (~chosen.any(1)) & (weight.sum(1) > 0)
        chosen[missing, closest[missing]] = True
        return ids.masked_fill(chosen, self._mask_token_id), chosen
