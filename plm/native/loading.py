"""Loads the library that was built with the package, and picks a variant of its kernels."""

import ctypes
import logging
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from plm.native.blocked import UNKNOWN, BlockedKernel
from plm.native.layer import LayerKernel
from plm.native.mask_sets import PackedBits, SetAddresses, address_of
from plm.native.masked_linear import MaskedLinearKernel
from plm.native.readout import ReadoutKernel
from plm.native.variant import Variant, blocked_kinds, variants

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent
# Of the functions, as processor.cpp has it.
_INTERFACE = 2


@cache
def kernel() -> MaskedLinearKernel | None:
    """The kernel of linears, or None where it was not built or is of no use here."""
    variant = chosen(_FOLDER)
    return None if variant is None else MaskedLinearKernel(variant)


@cache
def layer_kernel() -> LayerKernel | None:
    """What a layer does between its linears, or None likewise."""
    variant = chosen(_FOLDER)
    return None if variant is None else LayerKernel(variant)


@cache
def readout_kernel() -> ReadoutKernel | None:
    """What is read off logits, or None likewise."""
    variant = chosen(_FOLDER)
    return None if variant is None else ReadoutKernel(variant)


@cache
def blocked_kernel() -> BlockedKernel | None:
    """The kernel of weights in its own order, or None where this processor has none."""
    return chosen_blocked(_FOLDER)


@cache
def chosen_blocked(folder: Path) -> BlockedKernel | None:
    """The kernel with those kinds of weights whose products come out right; None without any."""
    if (library := _library(folder)) is None:
        return None
    kinds = []
    for kind in blocked_kinds(library):
        if blocked_works(BlockedKernel(library, [kind])):
            kinds.append(kind)
        else:
            logger.warning("the native products of weights in %s give wrong results here", kind)
    return BlockedKernel(library, kinds) if kinds else None


@cache
def chosen(folder: Path) -> Variant | None:
    """The fastest variant that this processor can run, and that works; None where there is none.

    Each is tried on a small product first: a compiler's fault must not become a wrong answer.
    """
    library = _library(folder)
    for variant in () if library is None else variants(library):
        if works(variant):
            return variant
        logger.warning("the native kernels for %s give wrong results here", variant.name)
    return None


def works(variant: Variant) -> bool:
    """Whether a masked product, a layer's other parts and a readout come out right."""
    generator = torch.Generator().manual_seed(0)
    states, weight = (torch.randn(size, 96, generator=generator) for size in (21, 40))
    kept = torch.randint(0, 2, (40, 96), dtype=torch.uint8, generator=generator)
    bits = PackedBits(np.packbits(kept.numpy(), axis=1, bitorder="little"))
    weight = weight.half().float()
    found = MaskedLinearKernel(variant)(
        states, weight, weight[:, 0].contiguous(), [bits, None], [17, 4], half=weight.half()
    )
    masked = states[:17] @ (weight * kept).t()
    expected = torch.cat([masked, states[17:] @ weight.t()]) + weight[:, 0]
    ends = np.array([0, 21])
    layer, readout = LayerKernel(variant), ReadoutKernel(variant)
    bias, ones, zeros = states[0].clone(), torch.ones(96), torch.zeros(96)
    biased = states + bias
    attention = layer.attention(
        states, states, states, ends, ends, heads=3, query_bias=bias, value_bias=bias
    )
    query, key = (part.view(1, 21, 3, 32).transpose(1, 2) for part in (biased, states))
    attended = functional.scaled_dot_product_attention(query, key, query)
    normed = layer.norm_of_sum(states, states, ones, zeros, 1e-12, states_bias=bias)
    values, ids = readout.largest(states, 5)
    admitted = torch.arange(96) % 3 > 0
    some, _ = readout.largest(states, 5, admitted)
    pairs = (
        (found, expected),
        (attention, attended.transpose(1, 2).reshape(21, 96)),
        (normed, functional.layer_norm(biased + states, (96,), ones, zeros, 1e-12)),
        (layer.gelu_(states.clone(), bias), functional.gelu(biased)),
        (readout.log_sum_exp(states), states.logsumexp(1)),
        (values, states.topk(5).values),
        (values, states.gather(1, ids)),
        (some, states[:, admitted].topk(5).values),
    )
    return all(torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4) for ours, theirs in pairs)


def blocked_works(run: BlockedKernel) -> bool:
    """Whether masked products come out right, of each kind of weights that it has.

    Of many rows and of few, and in int8 with sums that are filled in and those that are there.
    """
    generator = torch.Generator().manual_seed(0)
    sizes = (17, 1, 2, 1)
    # Whole numbers that every type holds as they are.
    states, weight = (
        torch.randint(-127, 128, (size, 128), generator=generator).float() for size in (21, 40)
    )
    states[:, 0] = weight[:, 1] = 127
    kept = torch.randint(0, 2, (40, 128), dtype=torch.uint8, generator=generator)
    bits = PackedBits(np.packbits(kept.numpy(), axis=1, bitorder="little"))
    sets = [bits, bits, None, bits]
    masked = states @ (weight * kept).t()
    expected = torch.cat([masked[:18], states[18:20] @ weight.t(), masked[20:]]) + weight[:, 0]
    bias = weight[:, 0].contiguous()
    for dtype in run.dtypes:
        packed = run.pack(weight, dtype)
        sums = np.full(64, UNKNOWN, np.int32)
        addresses = np.array(
            [
                [0 if part is None else place for part in sets]
                for place in (bits.address, address_of(sums))
            ],
            np.int64,
        )
        where = SetAddresses(
            address_of(addresses[0]),
            address_of(addresses[1]) if packed.sums is not None else None,
            len(sets),
        )
        products = [run(states, packed, bias, sets, sizes)]
        products += [run.at(states, packed, bias, where, sizes) for _ in range(2)]
        if not all(torch.allclose(found, expected, rtol=1e-5) for found in products):
            return False
    return True


def _library(folder: Path) -> ctypes.CDLL | None:
    """What was built with the package, if it can be loaded and is of this version."""
    for path in sorted(folder.glob("_kernels*.so")):
        try:
            library = ctypes.CDLL(str(path))
            if library.relata_interface() == _INTERFACE:
                return library
        except AttributeError:
            pass  # it is older than the number
        except OSError as error:
            # Another machine's, or a torch that brings no OpenMP along.
            logger.info("the native kernels %s cannot be loaded: %s", path.name, error)
            continue
        logger.warning("the native kernels %s are of another version: install again", path.name)
    return None
