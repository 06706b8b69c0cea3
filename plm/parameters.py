"""A model's weights by name, whatever form they are held in."""

from collections.abc import Iterator, Mapping
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from plm.native import BlockedWeight


class Parameters(Mapping[str, Tensor]):
    """Weights in the type that a base computes in.

    One that is held in another form (float16, blocks of a kernel) is made when it is asked for, and
    is the same tensor for all who ask while anybody has it. A weight under two names is one tensor.
    """

    def __init__(self, held: Mapping[str, Tensor | BlockedWeight], dtype: torch.dtype) -> None:
        """Of weights as they are held; those in blocks must be what the blocks stand for."""
        self._held = dict(held)
        self._dtype = dtype
        self._made: WeakValueDictionary[int, Tensor] = WeakValueDictionary()

    def __getitem__(self, name: str) -> Tensor:
        held = self._held[name]
        if isinstance(held, Tensor) and held.dtype == self._dtype:
            return held
        made = self._made.get(id(held))
        if made is None:
            # A tensor made in inference mode would take part in no gradient.
            with torch.inference_mode(mode=False):
                made = held.to(self._dtype) if isinstance(held, Tensor) else held.dense()
            self._made[id(held)] = made
        return made

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a weight, without making it."""
        return tuple(self._held[name].shape)
