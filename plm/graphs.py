"""The layers of small passes on a GPU, recorded once for each bucket of shapes and replayed.

A pass of a few sentences is about seventy short launches, which take Python longer to start than
the GPU to run. A CUDA graph starts them all at once, but knows only the memory that it was recorded
with: what differs from pass to pass, the sentences' places and the masks' addresses included, is
written there before each replay, and shapes are rounded up to a bucket's.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Self, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plm.affine import AnyLinear, Linear, MaskedLinear, PlannedLinear
from plm.architectures import ROLES, Role
from plm.base import BaseModel
from plm.cuda import CudaMaskedLinear, LaunchPlan, cuda_attention, cuda_kernel
from plm.cuda.linear import tile_height, tiles_of
from plm.layers import GroupedLayer, LayerWeights
from plm.layout import Layout, Slots
from plm.masked import MaskedLayers
from plm.packing import PackedRows, pack_rows
from plm.rows import EncodedRow
from plm.states import run_layers

logger = logging.getLogger(__name__)

# Larger passes keep the GPU busy for longer than their launches take.
_MOST_TOKENS = 1024
# Graphs hold memory of their own; the least recently used one goes.
_KEPT = 64
# What is computed at the slots alone in the last layer.
_AT_SLOTS = frozenset(ROLES) - {"key", "value"}

_recording = threading.Lock()

Numbers = TypeVar("Numbers", Tensor, NDArray[np.int64])
Record = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]


@dataclass(frozen=True)
class Bucket:
    """Shapes that a graph is recorded for; each pass of no more fits.

    Attributes:
        tokens: of all sentences.
        sentences: of a pass.
        slots: of all sentences.
        sets: different masks, no mask being one.
        longest: tokens of a sentence.
        most_slots: of a sentence.
        first: lowest layer that a mask covers, counted from 1; layers + 1 without masks.
    """

    tokens: int
    sentences: int
    slots: int
    sets: int
    longest: int
    most_slots: int
    first: int

    @classmethod
    def of(cls, packed: PackedRows, sets: int, first: int) -> Self:
        """The smallest bucket that a pass fits in."""
        return cls(
            tokens=_rounded(sum(packed.lengths), 16),
            sentences=_rounded(len(packed.lengths), 1),
            slots=_rounded(sum(packed.slot_counts), 1),
            sets=_rounded(sets, 1),
            longest=_rounded(max(packed.lengths), 32),
            most_slots=_rounded(max(packed.slot_counts), 16),
            first=first,
        )


class LayerGraphs:
    """Runs the layers of small passes by graphs; not for several threads at a time."""

    def __init__(self, base: BaseModel, kernel: CudaMaskedLinear, record: Record) -> None:
        """Of a base on a GPU, whose masks `kernel` applies; `record` makes a graph of work."""
        self._base = base
        self._kernel = kernel
        self._record = record
        linears = base.layers[-1].linears()
        # One of each shape.
        self._weights = tuple({part.shape: part.weight for _, part in linears}.values())
        self._graphs: OrderedDict[Bucket, _RecordedLayers] = OrderedDict()
        self._met: OrderedDict[Bucket, None] = OrderedDict()
        self._addresses: WeakKeyDictionary[MaskedLayers, NDArray[np.int64]] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._failed = False

    def takes(self, packed: PackedRows, sets: int) -> bool:
        """Whether a pass of so many mask sets is small enough to gain by a graph."""
        tokens = sum(packed.lengths)
        if self._failed or tokens > _MOST_TOKENS or packed.layout.device_starts is None:
            return False
        return all(tokens < self._kernel.dense_from(weight) * sets for weight in self._weights)

    def __call__(
        self,
        hidden: Tensor,
        packed: PackedRows,
        sets: Sequence[MaskedLayers | None],
        tokens: Sequence[int],
        slots: Sequence[int],
    ) -> Tensor | None:
        """States (S, H) at the slots of (N, H) first states whose sentences are sorted by set.

        None if the pass is left to others: its bucket is met for the first time, or a mask is not
        applied from one bit a weight.
        """
        count = self._base.layer_count
        first = min((masked.first for masked in sets if masked), default=count + 1)
        addresses = [self._addresses_of(masked, first) for masked in sets]
        if any(part is None for part in addresses):
            return None
        bucket = Bucket.of(packed, len(sets), first)
        with self._lock:
            graph = self._graph(bucket)
            if graph is None:
                return None
            found = [part for part in addresses if part is not None]
            return graph(hidden, packed, found, tokens, slots)

    def _graph(self, bucket: Bucket) -> "_RecordedLayers | None":
        graph = self._graphs.get(bucket)
        if graph is not None:
            self._graphs.move_to_end(bucket)
            return graph
        # Recording takes as long as a hundred passes: not for shapes that do not come again.
        if bucket not in self._met:
            self._met[bucket] = None
            if len(self._met) > 16 * _KEPT:
                self._met.popitem(last=False)
            return None
        try:
            graph = _RecordedLayers(self._base, bucket, self._record)
        except Exception as error:
            logger.warning("passes go without CUDA graphs from here on: %s", error)
            self._failed = True
            return None
        self._graphs[bucket] = graph
        if len(self._graphs) > _KEPT:
            self._graphs.popitem(last=False)
        return graph

    def _addresses_of(self, masked: MaskedLayers | None, first: int) -> NDArray[np.int64] | None:
        """Where a set's bits lie, (layers from `first` on, roles); 0 where it covers nothing."""
        count = self._base.layer_count
        if masked is None:
            return np.zeros((count + 1 - first, len(ROLES)), np.int64)
        found = self._addresses.get(masked)
        if found is None:
            found = np.zeros((count, len(ROLES)), np.int64)
            for number in range(masked.first, masked.last + 1):
                for column, (_, part) in enumerate(masked.layer(self._base, number).linears()):
                    if isinstance(part, MaskedLinear) and part.from_bits:
                        found[number - 1, column] = part.device_bits.data_ptr()
                    elif part is not self._base.layers[number - 1].linear(ROLES[column]):
                        return None
            self._addresses[masked] = found
        return found[first - 1 :]


class _RecordedLayers:
    """All layers for one bucket, and the memory that their graph reads and writes."""

    def __init__(self, base: BaseModel, bucket: Bucket, record: Record) -> None:
        device = base.device
        self._bucket = bucket
        self._heights = tuple(
            tile_height(rows, bucket.sets) for rows in (bucket.tokens, bucket.slots)
        )
        tiles = [
            -(-rows // height) + bucket.sets
            for rows, height in zip((bucket.tokens, bucket.slots), self._heights, strict=True)
        ]
        masked = base.layer_count + 1 - bucket.first
        self._shapes: dict[str, tuple[int, ...]] = {
            "starts": (bucket.sentences + 1,),
            "slot_starts": (bucket.sentences + 1,),
            "slot_tokens": (bucket.slots,),
            "tiles": (tiles[0], 3),
            "slot_tiles": (tiles[1], 3),
            "addresses": (masked, len(ROLES), bucket.sets),
        }
        sizes = [int(np.prod(shape)) for shape in self._shapes.values()]
        self._ends = list(accumulate(sizes, initial=0))
        # One copy takes all of it to the device.
        self._numbers = torch.zeros(self._ends[-1], dtype=torch.int64, device=device)
        parts = self._parts(self._numbers)
        self._slot_tokens = parts["slot_tokens"]
        self._hidden = torch.zeros(bucket.tokens, base.hidden_size, dtype=base.dtype, device=device)
        layout = Layout(bucket.sentences, bucket.longest, None, None, None, parts["starts"])
        slots = Slots(
            parts["slot_tokens"],
            torch.zeros(bucket.sentences, bucket.most_slots, dtype=torch.int64, device=device),
            None,
            np.zeros(bucket.sentences + 1, np.int64),
            parts["slot_starts"],
        )
        layers = [self._layer(base, number, parts) for number in range(1, base.layer_count + 1)]
        self._replay, self._output = record(
            lambda: run_layers(base, self._hidden, layers, layout, slots)
        )

    def __call__(
        self,
        hidden: Tensor,
        packed: PackedRows,
        addresses: Sequence[NDArray[np.int64]],
        tokens: Sequence[int],
        slots: Sequence[int],
    ) -> Tensor:
        """States (S, H) at the slots; as `LayerGraphs`, with where the sets' bits lie."""
        self._numbers.copy_(torch.from_numpy(self._numbers_of(packed, addresses, tokens, slots)))
        # Those that are not there read the first token, and nobody reads them.
        self._slot_tokens[: len(packed.slots)].copy_(packed.slots.tokens)
        self._hidden[: len(hidden)].copy_(hidden)
        self._replay()
        return self._output[: sum(packed.slot_counts)].clone()

    def _parts(self, numbers: Numbers) -> dict[str, Numbers]:
        """Views of numbers that lie end to end, by what they say."""
        spans = zip(self._shapes.items(), self._ends[:-1], self._ends[1:], strict=True)
        return {name: numbers[start:end].reshape(shape) for (name, shape), start, end in spans}

    def _numbers_of(
        self,
        packed: PackedRows,
        addresses: Sequence[NDArray[np.int64]],
        tokens: Sequence[int],
        slots: Sequence[int],
    ) -> NDArray[np.int64]:
        numbers = np.zeros(self._ends[-1], np.int64)
        parts = self._parts(numbers)
        assert packed.layout.starts is not None
        for name, starts in (
            ("starts", packed.layout.starts),
            ("slot_starts", packed.slots.starts),
        ):
            # Sentences that are not there begin and end where the last one ends.
            parts[name][:] = starts[-1]
            parts[name][: len(starts)] = starts
        for name, rows, height in (
            ("tiles", tokens, self._heights[0]),
            ("slot_tiles", slots, self._heights[1]),
        ):
            tiles = tiles_of(rows, height)
            parts[name][: len(tiles)] = tiles
        for number, own in enumerate(addresses):
            parts["addresses"][:, :, number] = own
        return numbers

    def _layer(
        self, base: BaseModel, number: int, parts: dict[str, Tensor]
    ) -> LayerWeights | GroupedLayer:
        layer = base.layers[number - 1]
        bucket = self._bucket
        if number < bucket.first:
            return layer
        last = number == base.layer_count
        linears: dict[Role, Linear] = {}
        for column, (role, part) in enumerate(layer.linears()):
            at_slots = last and role in _AT_SLOTS
            plan = LaunchPlan(
                parts["slot_tiles" if at_slots else "tiles"],
                parts["addresses"][number - bucket.first, column],
                self._heights[at_slots],
            )
            linears[role] = PlannedLinear(part.weight, part.bias, plan=plan)
        return GroupedLayer((layer.with_linears(linears),), (bucket.tokens,), (bucket.slots,))


def layer_graphs(base: BaseModel) -> LayerGraphs | None:
    """Graphs of a base on a GPU, or None where they cannot be had or do not work.

    They are tried on a small pass first, beside the same one without them.
    """
    kernel, attention = cuda_kernel(), cuda_attention()
    probe = torch.empty(0, base.hidden_size, dtype=base.dtype, device=base.device)
    if kernel is None or attention is None or not attention.takes(probe, base.heads):
        return None
    if base.architecture.relative_positions is not None:
        return None
    try:
        graphs = LayerGraphs(base, kernel, recorded)
        if graphs_work(base, graphs):
            return graphs
        logger.warning("CUDA graphs give wrong results here; passes go without them")
    except Exception as error:
        logger.warning("CUDA graphs cannot be used (%s); passes go without them", error)
    return None


def graphs_work(base: BaseModel, graphs: LayerGraphs) -> bool:
    """Whether passes of another layout each come out as without graphs, with masks and without.

    False, too, if none of them was run by a graph.
    """
    word, ran = base.mask_token_id, False
    for masked in (None, _some_mask(base)):
        for lengths in ((3, 5), (4, 3), (6, 1)):
            rows = [EncodedRow((word,) * length, (length - 1,)) for length in lengths]
            sets = [None] if masked is None else [masked, None]
            tokens = (sum(lengths),) if masked is None else lengths
            slots = (2,) if masked is None else (1, 1)
            with torch.inference_mode():
                packed = pack_rows(base, rows)
                embedded = base.embed(packed.input_ids, packed.attention_mask, packed.token_types)
                hidden = packed.layout.unpad(embedded)
                found = graphs(hidden, packed, sets, tokens, slots)
                if found is None:
                    continue
                ran = True
                layers: list[LayerWeights | GroupedLayer] = [*base.layers]
                if masked is not None:
                    parts = (masked.layers[0], base.layers[-1])
                    layers[-1] = GroupedLayer(parts, tokens, slots)
                expected = run_layers(base, hidden, layers, packed.layout, packed.slots)
                # Not a number is no small difference; bfloat16 has steps of a 256th.
                if not float((found - expected).abs().max() / expected.abs().max()) <= 0.02:
                    return False
    return ran


def _some_mask(base: BaseModel) -> MaskedLayers:
    """A mask of the last layer that keeps about half of it."""
    random, layer = np.random.default_rng(0), base.layers[-1]
    linears: dict[Role, AnyLinear] = {}
    for role, part in layer.linears():
        assert not isinstance(part, MaskedLinear)
        width, depth = part.shape
        bits = random.integers(0, 256, (width, (depth + 7) // 8), np.uint8)
        linears[role] = MaskedLinear(part, {role: bits}, role)
    count = base.layer_count
    return MaskedLayers("tried", count, count, (layer.with_linears(linears),), 0)


def recorded(work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """Work as a CUDA graph: what replays it, and the tensor that it then writes to.

    It runs a few times before it is recorded, since kernels are compiled and libraries set up in
    their first calls.
    """
    current = torch.cuda.current_stream()
    stream = _side_stream(torch.cuda.current_device())
    graph = torch.cuda.CUDAGraph()
    # A process records one graph at a time; and a recording that fails must not leave this thread
    # on the side stream, which the outer `with` sees to.
    with _recording, torch.cuda.stream(current):
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(3):
                work()
        current.wait_stream(stream)
        # Of this thread alone: another one may be laying out the next pass.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            output = work()
    return graph.replay, output


@cache
def _side_stream(device: int) -> torch.cuda.Stream:
    """One for all recordings: libraries hold memory for each stream that they have seen."""
    return torch.cuda.Stream(device)


def _rounded(count: int, least: int) -> int:
    """The next power of two."""
    return max(least, 1 << (count - 1).bit_length())
