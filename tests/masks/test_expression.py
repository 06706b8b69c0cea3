import contextlib
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masks import (
    Combine,
    CombinedMask,
    MaskExpressionError,
    MaskMismatchError,
    PackedMask,
    RelationMask,
    combine_masks,
)

MakeMask = Callable[..., RelationMask]
RandomKeep = Callable[..., dict]


@pytest.fixture(scope="session")
def three(make_mask: MakeMask, random_keep: RandomKeep) -> list[RelationMask]:
    return [make_mask(name, random_keep(i)) for i, name in enumerate(["IsA", "HasA", "PartOf"])]


@pytest.mark.parametrize("text", ["union", "intersection", "difference", "vote:1", "vote:12"])
def test_an_expression_prints_as_it_is_written(text: str) -> None:
    assert str(Combine.parse(text)) == text


def test_union_is_the_default() -> None:
    assert Combine.parse() == Combine() == Combine("union")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Union",
        "or",
        "vote",
        "vote:",
        "vote:x",
        "vote:-1",
        "vote:1.5",
        "union:2",
        "vote:٣",
        "vote:1\n",
        " union",
        "vote:99999999999999",
    ],
)
def test_an_error_says_what_would_be_right(text: str) -> None:
    with pytest.raises(MaskExpressionError, match="'union', 'intersection', 'difference' or"):
        Combine.parse(text)


def test_an_expression_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Combine.parse("vote:0")


@pytest.mark.parametrize(
    ("kind", "votes"), [("vote", None), ("union", 1), ("xor", None), ("vote", 0)]
)
def test_impossible_combinations_cannot_be_made(kind: str, votes: int | None) -> None:
    with pytest.raises(MaskExpressionError):
        Combine(kind, votes)


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(MaskExpressionError):
        assert str(Combine.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "twin"),
    [
        ("union", lambda a, b, c: a | b | c),
        ("intersection", lambda a, b, c: a & b & c),
        ("difference", lambda a, b, c: a & ~b & ~c),
        ("vote:1", lambda a, b, c: a | b | c),
        ("vote:2", lambda a, b, c: (a & b) | (a & c) | (b & c)),
        ("vote:3", lambda a, b, c: a & b & c),
    ],
)
def test_combined_masks_match_their_boolean_twins(
    three: list[RelationMask], text: str, twin: Callable[..., np.ndarray]
) -> None:
    combined = combine_masks(three, Combine.parse(text))
    expected = {name: twin(*(mask.keep(name) for mask in three)) for name in three[0].shapes}
    for name, matrix in expected.items():
        assert np.array_equal(combined.keep(name), matrix)
        assert not combined.packed[name].flags.writeable
    kept = sum(int(matrix.sum()) for matrix in expected.values())
    assert combined.sparsity == pytest.approx(1 - kept / combined.weight_count, abs=1e-12)
    assert combined.relations == ("IsA", "HasA", "PartOf")
    assert str(combined.combine) == text
    assert combined.base_digest == three[0].base_digest
    assert combined.shapes == three[0].shapes


@pytest.mark.parametrize("text", ["union", "intersection", "difference", "vote:1"])
def test_one_mask_stays_what_it_is(three: list[RelationMask], text: str) -> None:
    combined: PackedMask = combine_masks(three[:1], Combine.parse(text))
    assert isinstance(combined, CombinedMask)
    assert combined.digest == three[0].digest
    assert combined.sparsity == three[0].sparsity
    assert all(np.array_equal(bits, three[0].packed[n]) for n, bits in combined.packed.items())


@pytest.mark.parametrize("text", ["union", "intersection", "vote:2"])
def test_digests_do_not_depend_on_order(three: list[RelationMask], text: str) -> None:
    combine = Combine.parse(text)
    digests = {combine_masks(list(order), combine).digest for order in permutations(three)}
    assert len(digests) == 1
    assert combine_masks(three, combine) != combine_masks(three[::-1], combine)
    assert combine_masks(three, combine) == combine_masks(list(three), combine)
    assert hash(combine_masks(three, combine)) == hash(combine_masks(list(three), combine))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=5), st.data())
def test_equal_digests_mean_equal_bits(
    three: list[RelationMask], chosen: list[int], data: st.DataObject
) -> None:
    texts = ["union", "intersection", "difference", *(f"vote:{k + 1}" for k in range(len(chosen)))]
    left = combine_masks(
        [three[i] for i in chosen], Combine.parse(data.draw(st.sampled_from(texts)))
    )
    order = data.draw(st.permutations(chosen))
    right = combine_masks(
        [three[i] for i in order], Combine.parse(data.draw(st.sampled_from(texts)))
    )
    if left.digest == right.digest:
        assert all(np.array_equal(bits, right.packed[n]) for n, bits in left.packed.items())


def test_counts_are_checked(three: list[RelationMask]) -> None:
    with pytest.raises(MaskExpressionError, match="at least one relation"):
        combine_masks([])
    with pytest.raises(MaskExpressionError, match="from 1 to 3"):
        combine_masks(three, Combine.parse("vote:4"))


def test_masks_of_different_bases_are_not_combined(
    three: list[RelationMask], make_mask: MakeMask, random_keep: RandomKeep
) -> None:
    other = make_mask("Causes", base_digest="sha256:" + "00" * 32)
    with pytest.raises(MaskMismatchError, match="IsA and Causes belong to different base"):
        combine_masks([three[0], other])
    # 10 and 11 columns pack into the same bytes.
    query = "bert.encoder.layer.3.attention.self.query.weight"
    shapes = {**three[0].shapes, query: (3, 10)}
    with pytest.raises(MaskMismatchError, match=r"query.weight is \(3, 11\)"):
        combine_masks([three[0], make_mask("Causes", random_keep(0, shapes))])
    del shapes[query]
    with pytest.raises(MaskMismatchError, match="absent"):
        combine_masks([three[0], make_mask("Causes", random_keep(0, shapes))])
