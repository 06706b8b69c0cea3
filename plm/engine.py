"""Runs mixed batches: every probe under its own mask set, all in one pass."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from masks import PackedMask
from plm.addresses import AddressBook, PassAddresses
from plm.affine import BlockedLinear
from plm.base import BaseModel
from plm.cuda import cuda_kernel
from plm.device_masks import DeviceMasks
from plm.graphs import layer_graphs
from plm.layers import GroupedLayer, LayerWeights
from plm.mask_cache import MaskCache
from plm.masked import MaskedLayers, masked_layers
from plm.native import blocked_kernel, kernel
from plm.objects import answer_token_ids
from plm.packing import PackedRows, pack_rows
from plm.probe import Probe, Reading, TopTokens
from plm.readout import read_slots
from plm.rows import EncodedRow
from plm.states import run_layers

DEFAULT_CACHE_BYTES = 2**30
# States of larger passes leave a processor's caches between one operation and the next.
_PASS_TOKENS = 4096


@dataclass(frozen=True, eq=False)
class PreparedPass:
    """Probes laid out for a pass, made by `Engine.prepare`.

    Attributes:
        probes: sorted by mask.
        order: for each of them, its place among the probes as they were given.
        rows: of the probes as they stand here.
    """

    probes: tuple[Probe, ...]
    order: tuple[int, ...]
    rows: PackedRows


class Engine:
    """The resident model and its mask sets. Safe to call from several threads.

    Layers below the lowest masked one run once for the whole pass; those above run with the rows
    sorted by mask set, so that each linear gets all of them in one call (`plm.linear`). Linears
    never see padding; the last layer and the head are computed at the slots only.

    Attributes:
        base: the resident model.
        cache: the materialised mask sets.
    """

    def __init__(
        self, base: BaseModel, *, cache_bytes: int = DEFAULT_CACHE_BYTES, native: bool = True
    ) -> None:
        """Set up an engine; `native` False leaves the native kernel out even where it is built."""
        self.base = base
        self._device_masks = DeviceMasks(base.device) if base.device.type == "cuda" else None
        self.cache = MaskCache(base, cache_bytes, native=native, device_masks=self._device_masks)
        # What a pass from the bits needs of a mask is the same in each pass.
        self._layers_by_mask: WeakKeyDictionary[PackedMask, MaskedLayers] = WeakKeyDictionary()
        with _current(base):
            self._from_bits = native and _applies_bits(base)
            graphs = self._from_bits and base.device.type == "cuda"
            self._graphs = layer_graphs(base) if graphs else None
        # Where the kernel applies them while it loads the weights, a copy of W * M gains nothing.
        self._book = AddressBook(base) if self._from_bits and _all_in_blocks(base) else None

    @cached_property
    def words(self) -> Tensor:
        """The tokens that `TopTokens.words` admits, bool (V,)."""
        return answer_token_ids(self.base)

    def read(self, probes: Sequence[Probe]) -> list[Reading]:
        """Answer probes, in their order; on a CPU in passes of some thousand tokens.

        A reading does not depend on the other probes but for rounding. On a GPU it is one pass,
        which takes memory in proportion to its tokens: whoever calls bounds them.

        Raises:
            ValueError, MaskMismatchError: as `prepare` and `run` do.
        """
        if not probes:
            return []
        tokens = sum(len(probe.row.input_ids) for probe in probes)
        if self.base.device.type == "cuda" or tokens <= _PASS_TOKENS:
            return self.run(self.prepare(probes))
        readings: dict[int, Reading] = {}
        for places in _passes(probes):
            prepared = self.prepare([probes[place] for place in places])
            readings.update(zip(places, self.run(prepared), strict=True))
        return [readings[place] for place in range(len(probes))]

    def prepare(self, probes: Sequence[Probe]) -> PreparedPass:
        """Lay probes out for a pass; needs no turn at the model.

        Raises:
            ValueError: there are no probes, a row has no slots, `TopTokens` is asked of a row
                with several slots, or of no targets, or scores are not asked for every slot.
        """
        for probe in probes:
            _check(probe)
        order = _by_mask([probe.mask for probe in probes])
        sorted_probes = tuple(probes[place] for place in order)
        if self._device_masks is None:
            for mask in {probe.mask for probe in sorted_probes if probe.mask is not None}:
                # The bits of a combination are made when they are first looked at: not while the
                # model waits for them.
                next(iter(mask.packed.values()), None)
        with torch.inference_mode():
            rows = pack_rows(self.base, [probe.row for probe in sorted_probes])
        return PreparedPass(sorted_probes, tuple(order), rows)

    def run(self, prepared: PreparedPass) -> list[Reading]:
        """Answer a prepared pass; the readings come in the order that its probes were given in.

        Raises:
            MaskMismatchError: a mask does not fit the base.
        """
        probes = prepared.probes
        with _current(self.base):
            states = self._states(prepared.rows, [probe.mask for probe in probes])
        with torch.inference_mode():
            readings = read_slots(self.base, self.words, states, probes)
        by_place = dict(zip(prepared.order, readings, strict=True))
        return [by_place[place] for place in range(len(probes))]

    def logits(self, rows: Sequence[EncodedRow], masks: Sequence[PackedMask | None]) -> Tensor:
        """Logits (S, V) of rows, each under its mask, fp32, slot by slot in the rows' order.

        None is the unmasked model. They are an inference tensor: they take part in no gradient.

        Raises:
            ValueError: not one mask for each row, or a row has no slots.
            MaskMismatchError: a mask does not fit the base.
        """
        if len(rows) != len(masks):
            raise ValueError(f"{len(rows)} rows need as many masks, not {len(masks)}")
        order = _by_mask(masks)
        with torch.inference_mode():
            packed = pack_rows(self.base, [rows[place] for place in order])
        with _current(self.base):
            states = self._states(packed, [masks[place] for place in order])
        with torch.inference_mode():
            logits = self.base.head(states).float()
            parts = logits.split([len(rows[place].slots) for place in order])
            return torch.cat(
                [part for _, part in sorted(zip(order, parts, strict=True), key=itemgetter(0))]
            )

    def _states(self, packed: PackedRows, masks: Sequence[PackedMask | None]) -> Tensor:
        """States (S, H) at the slots of rows that are sorted by mask."""
        base = self.base
        different, counts = _different(masks)
        tokens = _sums(packed.lengths, counts)
        slots = _sums(packed.slot_counts, counts)
        if self._book is not None and _of_bits(different):
            for mask in different:
                if mask is not None:
                    self.cache.count_ready()
            return self._addressed_states(packed, self._book.of_pass(different), tokens, slots)
        # Outside inference mode, so that sets in the cache stay usable for gradients.
        small = self._graphs is not None and self._graphs.takes(packed, len(different))
        sets = self._sets(different, small=small)
        first = min((masked.first for masked in sets if masked), default=base.layer_count)
        with torch.inference_mode():
            hidden = self._embedded(packed)
            if small and self._graphs is not None:
                states = self._graphs(hidden, packed, sets, tokens, slots)
                if states is not None:
                    return states
            hidden = run_layers(base, hidden, base.layers[: first - 1], packed.layout)
            layers = [
                self._layer(sets, number, tokens, slots)
                for number in range(first, base.layer_count + 1)
            ]
            return run_layers(base, hidden, layers, packed.layout, packed.slots)

    def _addressed_states(
        self,
        packed: PackedRows,
        addresses: PassAddresses,
        tokens: tuple[int, ...],
        slots: tuple[int, ...],
    ) -> Tensor:
        """The same where the kernel of blocks applies all masks."""
        base, first = self.base, addresses.first
        with torch.inference_mode():
            hidden = self._embedded(packed)
            hidden = run_layers(base, hidden, base.layers[: first - 1], packed.layout)
            layers = [
                addresses.layer(number, tokens, slots)
                for number in range(first, base.layer_count + 1)
            ]
            return run_layers(base, hidden, layers, packed.layout, packed.slots)

    def _embedded(self, packed: PackedRows) -> Tensor:
        """What the layers start from, (N, H)."""
        embedded = self.base.embed(packed.input_ids, packed.attention_mask, packed.token_types)
        return packed.layout.unpad(embedded)

    def _sets(
        self, masks: Sequence[PackedMask | None], *, small: bool
    ) -> list[MaskedLayers | None]:
        """The mask sets of different masks; `small` if a graph may run."""
        # The kernel applies the bits of many sets for less than their dense weights take to read.
        unmade = self._from_bits and (small or len(masks) > 1)
        sets: list[MaskedLayers | None] = []
        for mask in masks:
            if mask is None:
                sets.append(None)
            elif unmade and mask.bits_per_weight == 1:
                sets.append(self._unmade(mask))
                if self._book is not None:
                    self.cache.count_ready()
            else:
                sets.append(self.cache.get(mask))
        return sets

    def _unmade(self, mask: PackedMask) -> MaskedLayers:
        """The layers of a mask whose bits meet the weights at each use."""
        layers = self._layers_by_mask.get(mask)
        if layers is None:
            layers = self._layers_by_mask[mask] = masked_layers(
                self.base, mask, device_masks=self._device_masks
            )
        return layers

    def _layer(
        self,
        sets: Sequence[MaskedLayers | None],
        number: int,
        tokens: tuple[int, ...],
        slots: tuple[int, ...],
    ) -> LayerWeights | GroupedLayer:
        parts = tuple(
            self.base.layers[number - 1] if masked is None else masked.layer(self.base, number)
            for masked in sets
        )
        if all(part is parts[0] for part in parts):
            # One set, or a layer that none of them covers.
            return parts[0]
        return GroupedLayer(parts, tokens, slots)


def _current(base: BaseModel) -> AbstractContextManager[object]:
    """Makes a base's GPU the current one, where Triton launches; nothing on a CPU."""
    return torch.cuda.device(base.device) if base.device.type == "cuda" else nullcontext()


def _applies_bits(base: BaseModel) -> bool:
    """Whether there is a kernel that applies the bits of masks to this base's weights."""
    if base.device.type == "cuda":
        return cuda_kernel() is not None
    query = base.layers[-1].query
    if isinstance(query, BlockedLinear):
        return blocked_kernel() is not None
    return (run := kernel()) is not None and run.takes(query.weight, query.weight)


def _all_in_blocks(base: BaseModel) -> bool:
    """Whether the kernel of blocks computes every product that a mask may be part of."""
    parts = (part for layer in base.layers for _, part in layer.linears())
    return all(isinstance(part, BlockedLinear) for part in parts)


def _of_bits(masks: Sequence[PackedMask | None]) -> bool:
    """Whether there are masks, all of one bit a weight."""
    there = [mask for mask in masks if mask is not None]
    return bool(there) and all(mask.bits_per_weight == 1 for mask in there)


def _different(masks: Sequence[PackedMask | None]) -> tuple[list[PackedMask | None], list[int]]:
    """Different ones of sorted masks, and how many there are of each."""
    different: list[PackedMask | None] = []
    counts: list[int] = []
    last: str | None = ""
    for mask in masks:
        digest = None if mask is None else mask.digest
        if digest != last:
            different.append(mask)
            counts.append(0)
        counts[-1] += 1
        last = digest
    return different, counts


def _by_mask(masks: Sequence[PackedMask | None]) -> list[int]:
    """Places of the masks, equal ones together, in order of their first.

    Those of 8 bits a weight come last: the kernel does all before them in one call.
    """
    groups: dict[tuple[bool, str | None], list[int]] = {}
    for place, mask in enumerate(masks):
        key = (False, None) if mask is None else (mask.bits_per_weight == 8, mask.digest)
        groups.setdefault(key, []).append(place)
    ordered = sorted(groups.items(), key=lambda group: group[0][0])
    return [place for _, group in ordered for place in group]


def _passes(probes: Sequence[Probe]) -> Iterator[list[int]]:
    """The places of the probes of each pass on a CPU, those under one mask side by side."""
    places: list[int] = []
    tokens = 0
    for place in _by_mask([probe.mask for probe in probes]):
        own = len(probes[place].row.input_ids)
        if places and tokens + own > _PASS_TOKENS:
            yield places
            places, tokens = [], 0
        places.append(place)
        tokens += own
    yield places


def _sums(sizes: Sequence[int], counts: Sequence[int]) -> tuple[int, ...]:
    """Sums of the first `counts[0]` sizes, the next `counts[1]`, and so on."""
    left = iter(sizes)
    return tuple(sum(next(left) for _ in range(count)) for count in counts)


def _check(probe: Probe) -> None:
    slots = len(probe.row.slots)
    if isinstance(probe.wanted, TopTokens):
        if slots != 1:
            raise ValueError(f"the most likely tokens are asked for at one slot, not at {slots}")
        if probe.wanted.targets is not None and not probe.wanted.targets:
            raise ValueError("targets, where given, are at least one")
        if probe.wanted.among_targets and probe.wanted.targets is None:
            raise ValueError("to normalise among targets, there must be some")
    elif probe.wanted.tokens.ndim != 2 or len(probe.wanted.tokens) != slots:
        raise ValueError(
            f"scores of {slots} slots need tokens ({slots}, K), not {probe.wanted.tokens.shape}"
        )
