"""Runs mixed batches: every prompt under its own mask set, all in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from masks import PackedMask
from plm.base import BaseModel
from plm.cloze import EncodedBatch
from plm.layers import GroupedLayer, LayerWeights
from plm.mask_cache import MaskCache
from plm.masked import MaskedLayers
from plm.states import lower_states, upper_rows

DEFAULT_CACHE_BYTES = 2**30


@dataclass(frozen=True, eq=False)
class _Groups:
    """Rows of a batch sorted by mask set.

    Attributes:
        order: row of the batch at each place of the sorted one.
        sets: mask set of each group; None is the unmasked model.
        sizes: rows of each group.
    """

    order: tuple[int, ...]
    sets: tuple[MaskedLayers | None, ...]
    sizes: tuple[int, ...]


class Engine:
    """The resident model and its mask sets. Safe to call from several threads.

    Layers below the lowest masked one run once for the whole batch; those above run with the rows
    sorted by mask set, so that each linear gets all of them in one call (`plm.linear`). The last
    layer and the head are computed at the mask positions only.

    Attributes:
        base: the resident model.
        cache: the materialised mask sets.
    """

    def __init__(self, base: BaseModel, *, cache_bytes: int = DEFAULT_CACHE_BYTES) -> None:
        self.base = base
        self.cache = MaskCache(base, cache_bytes)

    def forward(self, batch: EncodedBatch, mask_sets: Sequence[PackedMask | None]) -> Tensor:
        """Logits (B, V) at the mask positions, fp32, rows in the batch's order.

        `mask_sets` has one mask for each row; None runs the unmasked model. A row's logits do not
        depend on the other rows but for rounding. The result is an inference tensor: it takes
        part in no gradient.

        Raises:
            ValueError: not one mask for each row.
            MaskMismatchError: a mask does not fit the base.
        """
        if len(mask_sets) != len(batch.input_ids):
            raise ValueError(
                f"{len(batch.input_ids)} rows need as many masks, not {len(mask_sets)}"
            )
        # Outside inference mode, so that sets in the cache stay usable for gradients.
        groups = self._group(mask_sets)
        with torch.inference_mode():
            return self.base.head(self._rows(batch, groups)).float()

    def log_probs(
        self, batch: EncodedBatch, mask_sets: Sequence[PackedMask | None], token_ids: Tensor
    ) -> Tensor:
        """Log-probabilities of the tokens given, normalised over the whole vocabulary, fp32.

        `token_ids` is long, (K,) for all rows or (B, K); the result is (B, K). Raises as
        `forward` does.
        """
        logits = self.forward(batch, mask_sets)
        with torch.inference_mode():
            wanted = token_ids.to(logits.device).expand(len(logits), -1)
            return logits.gather(1, wanted) - logits.logsumexp(dim=1, keepdim=True)

    def _group(self, mask_sets: Sequence[PackedMask | None]) -> _Groups:
        rows: dict[str | None, list[int]] = {}
        masks: dict[str | None, PackedMask | None] = {}
        for row, mask in enumerate(mask_sets):
            digest = None if mask is None else mask.digest
            rows.setdefault(digest, []).append(row)
            masks.setdefault(digest, mask)
        return _Groups(
            order=tuple(row for group in rows.values() for row in group),
            sets=tuple(None if mask is None else self.cache.get(mask) for mask in masks.values()),
            sizes=tuple(len(group) for group in rows.values()),
        )

    def _rows(self, batch: EncodedBatch, groups: _Groups) -> Tensor:
        # Without a mask only the last layer is left above, which runs at the mask positions alone.
        first = min(
            (group.first for group in groups.sets if group is not None),
            default=self.base.layer_count,
        )
        hidden = lower_states(self.base, batch, first)
        layers = [self._layer(groups, number) for number in range(first, self.base.layer_count + 1)]
        if len(groups.sets) == 1:
            return upper_rows(self.base, hidden, batch.attention_mask, batch.mask_positions, layers)
        order = torch.tensor(groups.order, device=hidden.device)
        rows = upper_rows(
            self.base,
            hidden[order],
            batch.attention_mask[order],
            batch.mask_positions[order],
            layers,
        )
        return torch.empty_like(rows).index_copy_(0, order, rows)

    def _layer(self, groups: _Groups, number: int) -> LayerWeights | GroupedLayer:
        parts = tuple(
            self.base.layers[number - 1] if group is None else group.layer(self.base, number)
            for group in groups.sets
        )
        if all(part is parts[0] for part in parts):
            # One set, or a layer that none of them covers.
            return parts[0]
        return GroupedLayer(parts, groups.sizes)
