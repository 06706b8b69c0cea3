"""Counts on packed bits against the same on boolean arrays."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masks import (
    MaskMismatchError,
    MaskValueError,
    RelationMask,
    combine_masks,
    layer_of,
    overlap,
    overlap_matrix,
    role_of,
    sparsity_by_layer,
    sparsity_by_matrix,
    sparsity_by_role,
)

MakeMask = Callable[..., RelationMask]
RandomKeep = Callable[..., dict]
seeds = st.integers(0, 2**32 - 1)


def share_removed(mask: RelationMask, wanted: Callable[[str], bool]) -> float:
    bits = np.concatenate([mask.keep(name).ravel() for name in mask.shapes if wanted(name)])
    return float(np.mean(~bits))


@given(seeds)
def test_sparsity_by_part(make_mask: MakeMask, random_keep: RandomKeep, seed: int) -> None:
    mask = make_mask(keep=random_keep(seed))
    by_matrix = {name: share_removed(mask, lambda n, name=name: n == name) for name in mask.shapes}
    assert sparsity_by_matrix(mask) == pytest.approx(by_matrix)
    by_layer = {i: share_removed(mask, lambda n, i=i: layer_of(n) == i) for i in (4, 5)}
    assert sparsity_by_layer(mask) == pytest.approx(by_layer)
    roles = ("query", "feed_forward_out", "feed_forward_in")
    by_role = {role: share_removed(mask, lambda n, r=role: role_of(n) == r) for role in roles}
    assert sparsity_by_role(mask) == pytest.approx(by_role)
    assert mask.sparsity == pytest.approx(share_removed(mask, lambda _: True))


def test_matrices_without_a_place_are_left_out(
    make_mask: MakeMask, random_keep: RandomKeep
) -> None:
    mask = make_mask(keep=random_keep(0, {"w": (3, 5)}))
    assert sparsity_by_layer(mask) == {}
    assert sparsity_by_role(mask) == {}
    assert sparsity_by_matrix(mask).keys() == {"w"}


@given(seeds, seeds)
def test_overlap_matches_its_boolean_twin(
    make_mask: MakeMask, random_keep: RandomKeep, one: int, two: int
) -> None:
    a, b = make_mask(keep=random_keep(one)), make_mask(keep=random_keep(two))
    x, y = (np.concatenate([m.keep(n).ravel() for n in m.shapes]) for m in (a, b))
    found = overlap(a, b)
    assert found.kept == pytest.approx(np.sum(x & y) / np.sum(x | y))
    assert found.removed == pytest.approx(np.sum(~x & ~y) / np.sum(~x | ~y))
    assert found.agreement == pytest.approx(np.mean(x == y))
    assert overlap(b, a) == found


def test_overlap_at_the_edges(make_mask: MakeMask) -> None:
    nothing = make_mask(keep={"w": np.zeros((3, 5), np.bool_)})
    everything = make_mask(keep={"w": np.ones((3, 5), np.bool_)})
    for mask in (nothing, everything):
        same = overlap(mask, combine_masks([mask]))
        assert (same.kept, same.removed, same.agreement) == (1.0, 1.0, 1.0)
    apart = overlap(nothing, everything)
    assert (apart.kept, apart.removed, apart.agreement) == (0.0, 0.0, 0.0)


def test_the_matrix_holds_every_pair(make_mask: MakeMask, random_keep: RandomKeep) -> None:
    names = ["IsA", "HasA", "PartOf"]
    masks = [make_mask(name, random_keep(i)) for i, name in enumerate(names)]
    matrix = overlap_matrix(masks)
    assert matrix.relations == tuple(names)
    for i, a in enumerate(masks):
        for j, b in enumerate(masks):
            pair = overlap(a, b)
            assert matrix.kept[i, j] == pair.kept
            assert matrix.removed[i, j] == pair.removed
            assert matrix.agreement[i, j] == pair.agreement


def test_masks_that_cannot_be_compared(make_mask: MakeMask, random_keep: RandomKeep) -> None:
    with pytest.raises(MaskMismatchError):
        overlap(make_mask(), make_mask(keep=random_keep(0, {"w": (3, 5)})))
    with pytest.raises(MaskValueError):
        overlap_matrix([])
