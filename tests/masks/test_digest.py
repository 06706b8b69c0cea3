import hashlib
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masks import MaskValueError, combined_digest, mask_digest, pack_digest

A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")
SHAPES = {"w": (1, 8), "v": (2, 4)}
PACKED = {"w": np.array([[5]], np.uint8), "v": np.array([[1], [2]], np.uint8)}


def test_the_digest_is_the_documented_one() -> None:
    # By hand, so that no refactoring changes every digest ever given out.
    text = f'relata mask 1\n["{A}",[["v",2,4],["w",1,8]]]\n'.encode() + bytes([1, 2, 5])
    assert mask_digest(A, SHAPES, PACKED) == "sha256:" + hashlib.sha256(text).hexdigest()


def test_the_order_of_matrices_does_not_matter() -> None:
    turned = dict(reversed(PACKED.items()))
    assert mask_digest(A, dict(reversed(SHAPES.items())), turned) == mask_digest(A, SHAPES, PACKED)


def test_base_name_shape_and_bits_matter() -> None:
    digests = {
        mask_digest(A, SHAPES, PACKED),
        mask_digest(B, SHAPES, PACKED),
        mask_digest(A, {**SHAPES, "w": (1, 7)}, PACKED),
        mask_digest(A, SHAPES, {**PACKED, "w": np.array([[4]], np.uint8)}),
        mask_digest(A, {"x": (1, 8), "v": (2, 4)}, {"x": PACKED["w"], "v": PACKED["v"]}),
    }
    assert len(digests) == 5


def test_the_layout_in_memory_does_not_matter() -> None:
    bits = np.arange(12, dtype=np.uint8).reshape(3, 4)
    twin = np.asfortranarray(bits)
    assert mask_digest(A, {"w": (3, 32)}, {"w": twin}) == mask_digest(
        A, {"w": (3, 32)}, {"w": bits}
    )


@pytest.mark.parametrize("kind", ["union", "intersection", "vote:2"])
def test_order_does_not_matter(kind: str) -> None:
    assert len({combined_digest(kind, parts) for parts in permutations([A, B, C])}) == 1


@pytest.mark.parametrize("kind", ["union", "intersection"])
def test_repeats_do_not_matter_to_union_and_intersection(kind: str) -> None:
    assert combined_digest(kind, [A, B, A, B]) == combined_digest(kind, [A, B])
    assert combined_digest(kind, [A, A]) == A


def test_repeats_are_votes() -> None:
    assert combined_digest("vote:2", [A, A, B]) != combined_digest("vote:2", [A, B, B])


def test_one_vote_is_a_union_and_all_votes_an_intersection() -> None:
    assert combined_digest("vote:1", [A, B, C]) == combined_digest("union", [A, B, C])
    assert combined_digest("vote:3", [A, B, C]) == combined_digest("intersection", [A, B, C])


def test_difference_is_ordered_but_its_rest_is_not() -> None:
    assert combined_digest("difference", [A, B, C]) == combined_digest("difference", [A, C, B, C])
    assert combined_digest("difference", [A, B, C]) != combined_digest("difference", [B, A, C])
    assert combined_digest("difference", [A, A]) != A


@pytest.mark.parametrize("kind", ["union", "intersection", "difference", "vote:1"])
def test_one_part_keeps_its_digest(kind: str) -> None:
    assert combined_digest(kind, [A]) == A


@given(st.lists(st.sampled_from([A, B, C, D]), min_size=2, unique=True))
def test_other_parts_or_kinds_give_other_digests(parts: list[str]) -> None:
    kinds = ["union", "intersection", "difference", *(f"vote:{k}" for k in range(2, len(parts)))]
    digests = [combined_digest(kind, parts) for kind in kinds]
    digests += [combined_digest("union", parts[:-1]), combined_digest("intersection", parts[:-1])]
    # The union and the intersection of one part are that part.
    assert len(set(digests)) == len(digests) - (len(parts) == 2)


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("union", 0),
        ("difference", 0),
        ("vote:0", 0),
        ("vote:0", 2),
        ("vote:3", 2),
        ("vote", 2),
        ("xor", 2),
        ("union:2", 2),
        ("", 1),
        ("vote:02", 3),
    ],
)
def test_what_is_no_combination_is_refused(kind: str, count: int) -> None:
    with pytest.raises(MaskValueError):
        combined_digest(kind, [A, B, C][:count])


def test_the_digest_of_a_pack_is_the_documented_one() -> None:
    text = f'relata pack 1\n["{A}",[["HasA","{C}"],["IsA","{B}"]]]\n'
    expected = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    assert pack_digest(A, {"IsA": B, "HasA": C}) == expected
    assert pack_digest(A, {"HasA": C, "IsA": B}) == expected


def test_base_relations_and_masks_of_a_pack_matter() -> None:
    packs = [(A, {"IsA": B, "HasA": C}), (D, {"IsA": B, "HasA": C}), (A, {"IsA": C, "HasA": B}),
             (A, {"IsA": B}), (A, {"IsA": B, "PartOf": C}), (A, {}), (B, {})]  # fmt: skip
    assert len({pack_digest(base, digests) for base, digests in packs}) == len(packs)
