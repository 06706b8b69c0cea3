"""Set algebra on packed bits against the same on boolean arrays."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from masks import (
    MaskMismatchError,
    MaskValueError,
    difference,
    has_trailing_bits,
    intersection,
    pack_bits,
    union,
    unpack_bits,
    vote,
)

Bools = dict[str, NDArray[np.bool_]]
Packed = dict[str, NDArray[np.uint8]]


@st.composite
def many_keeps(draw: st.DrawFn, minimum: int = 1, maximum: int = 9) -> list[Bools]:
    count = draw(st.integers(minimum, maximum))
    shapes = draw(
        st.lists(st.tuples(st.integers(1, 4), st.integers(1, 20)), min_size=1, max_size=3)
    )
    density = draw(st.sampled_from([0.1, 0.5, 0.9]))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return [
        {f"w{i}": generator.random(shape) < density for i, shape in enumerate(shapes)}
        for _ in range(count)
    ]


def pack(keep: Bools) -> Packed:
    return {name: pack_bits(matrix) for name, matrix in keep.items()}


def assert_same(packed: Packed, keep: Bools) -> None:
    assert packed.keys() == keep.keys()
    for name, matrix in keep.items():
        columns = matrix.shape[1]
        assert not has_trailing_bits(packed[name], columns)
        assert np.array_equal(unpack_bits(packed[name], columns), matrix)


def assert_equal(a: Packed, b: Packed) -> None:
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[name], b[name]) for name in a)


def complement(packed: Packed, keeps: Sequence[Bools]) -> Packed:
    everything = pack({name: np.ones_like(matrix) for name, matrix in keeps[0].items()})
    return difference([everything, packed])


@given(many_keeps())
def test_union_intersection_difference_match_their_boolean_twins(keeps: list[Bools]) -> None:
    parts = [pack(keep) for keep in keeps]
    stacks = {name: np.stack([keep[name] for keep in keeps]) for name in keeps[0]}
    assert_same(union(parts), {n: s.any(axis=0) for n, s in stacks.items()})
    assert_same(intersection(parts), {n: s.all(axis=0) for n, s in stacks.items()})
    assert_same(difference(parts), {n: s[0] & ~s[1:].any(axis=0) for n, s in stacks.items()})


@given(many_keeps(maximum=20))
def test_every_vote_matches_its_boolean_twin(keeps: list[Bools]) -> None:
    parts = [pack(keep) for keep in keeps]
    for k in range(1, len(parts) + 1):
        counts = {name: np.sum([keep[name] for keep in keeps], axis=0) for name in keeps[0]}
        assert_same(vote(parts, k), {name: count >= k for name, count in counts.items()})


@given(many_keeps())
def test_one_vote_is_the_union_and_all_votes_the_intersection(keeps: list[Bools]) -> None:
    parts = [pack(keep) for keep in keeps]
    assert_equal(vote(parts, 1), union(parts))
    assert_equal(vote(parts, len(parts)), intersection(parts))


@given(many_keeps(minimum=2), st.randoms(use_true_random=False))
def test_order_does_not_matter_where_it_should_not(keeps: list[Bools], random: object) -> None:
    parts = [pack(keep) for keep in keeps]
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert_equal(union(parts), union(shuffled))
    assert_equal(intersection(parts), intersection(shuffled))
    assert_equal(vote(parts, 2), vote(shuffled, 2))
    rest = [part for part in shuffled if part is not parts[0]]
    assert_equal(difference(parts), difference([parts[0], *rest]))


@given(many_keeps(minimum=3, maximum=3))
def test_laws_of_sets(keeps: list[Bools]) -> None:
    a, b, c = (pack(keep) for keep in keeps)
    assert_equal(union([a, a]), a)
    assert_equal(intersection([a, a]), a)
    assert_equal(union([union([a, b]), c]), union([a, union([b, c])]))
    assert_equal(intersection([intersection([a, b]), c]), intersection([a, intersection([b, c])]))
    assert_equal(union([a, intersection([a, b])]), a)
    assert_equal(intersection([a, union([a, b])]), a)
    assert_equal(
        intersection([a, union([b, c])]), union([intersection([a, b]), intersection([a, c])])
    )
    assert_equal(
        complement(union([a, b]), keeps),
        intersection([complement(a, keeps), complement(b, keeps)]),
    )
    assert_equal(
        complement(intersection([a, b]), keeps),
        union([complement(a, keeps), complement(b, keeps)]),
    )
    assert_equal(difference([a, b, c]), difference([a, union([b, c])]))
    assert_equal(
        vote([a, b, c], 2),
        union([intersection([a, b]), intersection([a, c]), intersection([b, c])]),
    )


@given(many_keeps(minimum=2, maximum=3))
def test_parts_are_not_changed(keeps: list[Bools]) -> None:
    parts = [pack(keep) for keep in keeps]
    for result in (union(parts), intersection(parts), difference(parts), vote(parts, 2)):
        for bits in result.values():
            bits[:] = 0xFF
    for part, keep in zip(parts, keeps, strict=True):
        assert_same(part, keep)


@pytest.mark.parametrize("combine", [union, intersection, difference])
def test_masks_of_different_layout_are_refused(combine: object) -> None:
    assert callable(combine)
    first = {"a": np.zeros((2, 2), np.uint8), "b": np.zeros((2, 2), np.uint8)}
    with pytest.raises(MaskMismatchError, match="mask 1 has b, mask 2 does not"):
        combine([first, {"a": first["a"]}])
    with pytest.raises(MaskMismatchError, match=r"\(2, 3\) in mask 2"):
        combine([first, {**first, "b": np.zeros((2, 3), np.uint8)}])
    with pytest.raises(MaskValueError, match="float64"):
        combine([first, {**first, "b": np.zeros((2, 2))}])
    with pytest.raises(MaskValueError, match="no masks"):
        combine([])


@pytest.mark.parametrize("k", [-1, 0, 3])
def test_votes_out_of_range_are_refused(k: int) -> None:
    part = {"a": np.zeros((2, 2), np.uint8)}
    with pytest.raises(MaskValueError, match="from 1 to the 2"):
        vote([part, part], k)
