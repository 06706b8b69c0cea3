"""Masks of 8 bits a weight: what they hold, what they refuse, their files and packs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from masks import (
    Combine,
    MaskFileError,
    MaskMismatchError,
    MaskPack,
    MaskValueError,
    RelationMask,
    add_to_pack,
    combine_masks,
    dump_mask,
    load_mask,
    overlap,
    parse_mask,
    quantise,
    save_mask,
    sparsity_by_layer,
    sparsity_by_matrix,
    sparsity_by_role,
    weights_of,
    write_pack,
)
from masks.header import checksum
from tests.masks.conftest import SHAPES
from tests.masks.test_format import join, split

MakeMask = Callable[..., RelationMask]
Values = dict[str, NDArray[np.uint8]]
QUERY = "bert.encoder.layer.3.attention.self.query.weight"


@pytest.fixture(scope="module")
def mask(make_expectation: MakeMask) -> RelationMask:
    return make_expectation()


def expectation_fields(mask: RelationMask) -> dict[str, Any]:
    """What `from_expectation` takes beside the matrices."""
    left = ("shapes", "bits_per_weight")
    fields = {name: getattr(mask.metadata, name) for name in mask.metadata.__dataclass_fields__}
    return {name: value for name, value in fields.items() if name not in left}


def with_header(data: bytes, **changes: str | None) -> bytes:
    """The file with other metadata and a checksum to match."""
    header, tensors = split(data)
    fields = {k: v for k, v in (header["__metadata__"] | changes).items() if v is not None}
    return join({**header, "__metadata__": fields | {"checksum": checksum(fields)}}, tensors)


# --- values ----------------------------------------------------------------------------------


@given(hnp.arrays(np.float32, (3, 5), elements=st.floats(0, 1, width=32)))
def test_quantised_is_the_nearest_255th(expectation: NDArray[np.float32]) -> None:
    values = quantise("w", expectation)
    assert values.dtype == np.uint8
    assert np.abs(values / 255 - expectation).max() <= 0.5 / 255 + 1e-12
    assert np.array_equal(quantise("w", values.astype(np.float32) / np.float32(255)), values)


@pytest.mark.parametrize(
    ("expectation", "match"),
    [
        (np.ones((2, 2), np.uint8), "must be of floats from 0 to 1, not uint8"),
        (np.ones(4), r"rows and columns.*not shape \(4,\)"),
        (np.ones((0, 4)), "at least one of each"),
        (np.array([[0.5, 1.5]]), "1 of its 2 values are not, the first of them 1.5"),
        (np.array([[-0.1, 0.5]]), "the first of them -0.1"),
        (np.array([[0.5, np.nan]]), "the first of them nan"),
    ],
)
def test_what_is_no_expectation_is_refused(
    mask: RelationMask, expectation: NDArray[Any], match: str
) -> None:
    with pytest.raises(MaskValueError, match=match):
        RelationMask.from_expectation({QUERY: expectation}, **expectation_fields(mask))


def test_a_mask_tells_the_values_that_were_put_in(
    make_expectation: MakeMask, random_values: Callable[..., Values]
) -> None:
    values = random_values(3)
    mask = make_expectation(values=values)
    assert mask.bits_per_weight == 8
    for name, matrix in values.items():
        assert np.array_equal(mask.values(name), matrix)
        assert np.array_equal(weights_of(mask, name), matrix / np.float32(255))
        assert not mask.values(name).flags.writeable
    every = np.concatenate([matrix.ravel() for matrix in values.values()])
    assert mask.sparsity == pytest.approx((1 - every / 255).mean(), abs=1e-12)
    assert mask.weight_count == every.size
    floats = {name: matrix / 255 for name, matrix in values.items()}
    twin = RelationMask.from_expectation(floats, **expectation_fields(mask))
    assert twin == mask


def test_one_bit_and_eight_are_not_asked_for_each_other(
    mask: RelationMask, make_mask: MakeMask, random_keep: Callable[..., Any]
) -> None:
    with pytest.raises(MaskValueError, match="neither keeps nor removes"):
        mask.keep(QUERY)
    with pytest.raises(KeyError):
        mask.keep("other")
    with pytest.raises(MaskValueError, match="no values; ask what it keeps"):
        make_mask().values(QUERY)
    keep = random_keep(5)
    assert np.array_equal(weights_of(make_mask(keep=keep), QUERY), keep[QUERY].astype(np.float32))


def test_no_bits_pass_for_values(make_mask: MakeMask, make_expectation: MakeMask) -> None:
    shapes = {"w": (2, 1)}
    keep = {name: np.ones(shape, np.bool_) for name, shape in shapes.items()}
    one = make_mask(keep=keep)
    eight = make_expectation(values=dict(one.packed))
    assert one.packed["w"].tobytes() == eight.packed["w"].tobytes()
    assert one.digest != eight.digest


def test_values_must_fit_metadata(mask: RelationMask) -> None:
    def refused(changed: dict[str, Any], match: str) -> None:
        with pytest.raises(MaskValueError, match=match):
            RelationMask(mask.metadata, {**mask.packed, **changed})

    refused({QUERY: mask.packed[QUERY].astype(np.int8)}, "the values of .* must be uint8")
    refused(
        {QUERY: mask.packed[QUERY][:, :2]},
        r"must have shape \(3, 11\) for 3 x 11 weights of 8 bits, not \(3, 2\)",
    )


def test_an_expectation_is_cut_at_no_threshold(make_expectation: MakeMask) -> None:
    with pytest.raises(MaskValueError, match="threshold must be None"):
        make_expectation(threshold=0.5)


# --- cutting ---------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 1.0])
def test_a_threshold_makes_a_mask_of_one_bit(mask: RelationMask, threshold: float) -> None:
    cut = mask.at_threshold(threshold)
    assert (cut.bits_per_weight, cut.metadata.threshold) == (1, threshold)
    for name in mask.shapes:
        assert np.array_equal(cut.keep(name), mask.values(name) / 255 >= threshold)
    # It is another model: what was measured of the expectation is not said of it.
    assert cut.metadata.validation == {}
    assert cut.metadata.calibration is None
    assert parse_mask(dump_mask(cut), "x") == cut


@given(hnp.arrays(np.float32, (3, 5), elements=st.floats(0, 1, width=32)))
def test_cut_in_the_middle_is_what_the_unquantised_expectation_says(
    mask: RelationMask, expectation: NDArray[np.float32]
) -> None:
    fields = expectation_fields(mask) | {"layers": (4, 4)}
    cut = RelationMask.from_expectation({QUERY: expectation}, **fields).at_threshold(0.5)
    assert np.array_equal(cut.keep(QUERY), expectation >= 0.5)


def test_what_cannot_be_cut(mask: RelationMask, make_mask: MakeMask) -> None:
    with pytest.raises(MaskValueError, match="the threshold must be from 0 to 1"):
        mask.at_threshold(1.5)
    with pytest.raises(MaskValueError, match="IsA has one bit a weight already"):
        make_mask().at_threshold(0.5)


# --- algebra and statistics ------------------------------------------------------------------


def test_alone_it_is_itself(mask: RelationMask) -> None:
    for combine in ("union", "intersection", "difference", "vote:1"):
        combined = combine_masks([mask], Combine.parse(combine))
        assert (combined.digest, combined.sparsity) == (mask.digest, mask.sparsity)
        assert combined.bits_per_weight == 8
        assert np.array_equal(weights_of(combined, QUERY), weights_of(mask, QUERY))
        with pytest.raises(MaskValueError, match="neither keeps nor removes"):
            combined.keep(QUERY)


@pytest.mark.parametrize("combine", ["union", "intersection", "difference", "vote:2"])
def test_with_another_it_is_refused(
    make_expectation: MakeMask, make_mask: MakeMask, combine: str
) -> None:
    soft = make_expectation("Soft")
    for masks in ([soft, make_mask()], [make_mask(), soft], [soft, soft]):
        with pytest.raises(MaskMismatchError, match=r"mask Soft has 8 bits a weight.*threshold"):
            combine_masks(masks, Combine.parse(combine))
    cut = soft.at_threshold(0.5)
    assert combine_masks([cut, make_mask()], Combine.parse(combine)).bits_per_weight == 1


def test_masks_of_values_have_no_overlap(mask: RelationMask, make_mask: MakeMask) -> None:
    for a, b in ((mask, make_mask()), (make_mask(), mask), (mask, mask)):
        with pytest.raises(MaskMismatchError, match="8 bits a weight"):
            overlap(a, b)


def test_sparsity_in_parts_is_the_mean_share_removed(mask: RelationMask) -> None:
    removed = {name: 1 - mask.values(name) / 255 for name in mask.shapes}
    of_matrix = {name: part.mean() for name, part in removed.items()}
    assert sparsity_by_matrix(mask) == pytest.approx(of_matrix)
    assert sparsity_by_role(mask)["query"] == pytest.approx(of_matrix[QUERY])
    names = [name for name in SHAPES if ".3." in name]
    layer = np.concatenate([removed[name].ravel() for name in names])
    assert sparsity_by_layer(mask)[4] == pytest.approx(layer.mean())


# --- files -----------------------------------------------------------------------------------


def test_a_file_gives_back_the_mask(mask: RelationMask, tmp_path: Path) -> None:
    save_mask(mask, tmp_path / "IsA.safetensors")
    back = load_mask(tmp_path / "IsA.safetensors")
    assert back == mask
    assert (back.bits_per_weight, back.sparsity) == (8, mask.sparsity)
    # The library everybody else has reads the same values.
    tensors = safetensors.numpy.load(dump_mask(mask))
    assert all(np.array_equal(tensors[name], mask.values(name)) for name in mask.shapes)
    fields = split(dump_mask(mask))[0]["__metadata__"]
    assert (fields["format_version"], fields["bits_per_weight"]) == ("2", "8")


def test_masks_of_one_bit_are_written_as_before(make_mask: MakeMask) -> None:
    fields = split(dump_mask(make_mask()))[0]["__metadata__"]
    assert fields["format_version"] == "1"
    assert "bits_per_weight" not in fields


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"bits_per_weight": None}, "lack 'bits_per_weight'"),
        ({"bits_per_weight": "1"}, "must be 8 in format_version '2', not 1"),
        ({"bits_per_weight": "4"}, "must be 8 in format_version '2', not 4"),
        ({"bits_per_weight": "true"}, "bits_per_weight must be an integer"),
        ({"bits_per_weight": "[8]"}, "bits_per_weight must be an integer"),
        ({"bits_per_weight": "eight"}, "not valid JSON"),
        ({"format_version": "1"}, "unknown 'bits_per_weight'"),
        ({"format_version": "3"}, "'3', but this reader knows only '1' and '2'"),
        ({"format_version": "1", "bits_per_weight": None}, r"must have shape \(3, 2\)"),
        ({"threshold": "0.5"}, "threshold must be None"),
        ({"sparsity": "0.5"}, "have sparsity"),
        ({"digest": "sha256:" + "00" * 32}, "have digest"),
    ],
)
def test_bad_metadata(mask: RelationMask, changes: dict[str, str | None], match: str) -> None:
    with pytest.raises(MaskFileError, match=match):
        parse_mask(with_header(dump_mask(mask), **changes), "upload")


def test_bits_with_the_header_of_values_are_refused(make_mask: MakeMask) -> None:
    data = with_header(
        dump_mask(make_mask()), format_version="2", bits_per_weight="8", threshold="null"
    )
    with pytest.raises(MaskFileError, match=r"the values of .* must have shape \(3, 11\)"):
        parse_mask(data, "upload")


def test_every_changed_value_is_found(mask: RelationMask) -> None:
    data = dump_mask(mask)
    for place in range(len(data) - mask.weight_count, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(MaskFileError, match="have digest"):
            parse_mask(bytes(changed), "upload")


def test_a_truncated_file_is_refused(mask: RelationMask) -> None:
    data = dump_mask(mask)
    for size in (len(data) - 1, len(data) - mask.weight_count, 100, 0):
        with pytest.raises(MaskFileError, match="truncated"):
            parse_mask(data[:size], "upload")


# --- packs -----------------------------------------------------------------------------------


def test_a_pack_holds_both_kinds(
    make_mask: MakeMask, make_expectation: MakeMask, tmp_path: Path
) -> None:
    write_pack(tmp_path / "pack", [make_mask("HasA")], name="both")
    before = json.loads((tmp_path / "pack" / "manifest.json").read_text())["masks"]["HasA"]
    add_to_pack(tmp_path / "pack", make_expectation("IsA"))
    entries = json.loads((tmp_path / "pack" / "manifest.json").read_text())["masks"]
    assert entries["IsA"]["bits_per_weight"] == 8
    assert entries["HasA"] == before
    assert "bits_per_weight" not in before
    pack = MaskPack.open(tmp_path / "pack")
    assert pack.load_all() == {"HasA": make_mask("HasA"), "IsA": make_expectation("IsA")}
    assert pack.verify() == []


def test_a_manifest_that_says_other_bits_is_found(
    make_expectation: MakeMask, tmp_path: Path
) -> None:
    write_pack(tmp_path, [make_expectation("IsA")], name="soft")
    path = tmp_path / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"bits_per_weight": 8', '"bits_per_weight": 1'))
    with pytest.raises(MaskFileError, match="bits_per_weight is 8, but the manifest says 1"):
        MaskPack.open(tmp_path).load("IsA")
    for wrong in ("4", "true", '"8"', "null"):
        path.write_text(text.replace('"bits_per_weight": 8', f'"bits_per_weight": {wrong}'))
        with pytest.raises(MaskFileError, match="bits_per_weight of IsA must be 1 or 8"):
            MaskPack.open(tmp_path)
