"""Mask files: round trips, and everything the reader refuses."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from safetensors import safe_open

from masks import (
    Calibration,
    MaskError,
    MaskFileError,
    RelationMask,
    dump_mask,
    load_mask,
    parse_mask,
    save_mask,
)
from masks.header import checksum
from tests.masks.conftest import CALIBRATION

MakeMask = Callable[..., RelationMask]
QUERY = "bert.encoder.layer.3.attention.self.query.weight"
printable = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


@pytest.fixture(scope="session")
def mask(make_mask: MakeMask) -> RelationMask:
    return make_mask()


@pytest.fixture(scope="session")
def data(mask: RelationMask) -> bytes:
    return dump_mask(mask)


def split(data: bytes) -> tuple[dict, bytes]:
    """The header's JSON and the tensors' bytes, read without the package under test."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def join(header: dict, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def with_metadata(data: bytes, **changes: str | None) -> bytes:
    """A file with other metadata and a checksum to match: only the meaning is wrong."""
    header, tensors = split(data)
    fields = header["__metadata__"] | changes
    fields = {key: value for key, value in fields.items() if value is not None}
    if "checksum" not in changes:
        fields["checksum"] = checksum(fields)
    return join({**header, "__metadata__": fields}, tensors)


def spelt(**changes: object) -> str:
    """A calibration as its key spells it, with changes."""
    return json.dumps(CALIBRATION | changes)


def refused(data: bytes, match: str) -> None:
    with pytest.raises(MaskFileError, match=match) as caught:
        parse_mask(data, "upload of IsA")
    assert str(caught.value).startswith("upload of IsA: ")
    assert "\n" not in str(caught.value)


# --- round trips -----------------------------------------------------------------------------


def test_a_file_gives_back_the_mask(mask: RelationMask, tmp_path: Path) -> None:
    path = tmp_path / "IsA.safetensors"
    save_mask(mask, path)
    back = load_mask(str(path))
    assert back == mask
    assert back.metadata == mask.metadata
    assert back.digest == mask.digest
    assert back.sparsity == mask.sparsity
    assert all(np.array_equal(bits, mask.packed[name]) for name, bits in back.packed.items())
    assert not any(bits.flags.writeable for bits in back.packed.values())


@given(
    keep=st.dictionaries(
        printable.filter(lambda name: name.strip() and name != "__metadata__"),
        hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)),
        min_size=1,
        max_size=4,
    ),
    text=printable.filter(lambda text: text.strip() and "[Y]" not in text),
    settings=st.dictionaries(
        printable.filter(str.strip),
        st.none()
        | st.booleans()
        | st.integers()
        | printable
        | st.floats(allow_nan=False, allow_infinity=False),
    ),
    number=st.floats(-1e6, 1e6),
)
def test_any_mask_survives(
    make_mask: MakeMask,
    keep: dict[str, NDArray[np.bool_]],
    text: str,
    settings: dict,
    number: float,
) -> None:
    mask = make_mask(
        keep=keep,
        layers=(1, 10**6),
        base_model=text,
        templates=(f"[X] {text} [Y]",),
        settings=settings,
        validation={text: number},
    )
    data = dump_mask(mask)
    assert parse_mask(data, "x") == mask
    # The library everybody else has reads the same bits.
    tensors = safetensors.numpy.load(data)
    assert tensors.keys() == keep.keys()
    assert all(np.array_equal(bits, mask.packed[name]) for name, bits in tensors.items())


def test_equal_masks_are_equal_files(make_mask: MakeMask) -> None:
    first = make_mask(facts={"a": 1, "b": 2}, settings={"x": 1, "y": 2})
    twin = make_mask(facts={"b": 2, "a": 1}, settings={"y": 2, "x": 1})
    turned = RelationMask(twin.metadata, dict(reversed(twin.packed.items())))
    assert dump_mask(first) == dump_mask(turned)


def test_a_calibration_travels_with_the_mask(
    mask: RelationMask, data: bytes, make_calibration: Callable[..., Calibration]
) -> None:
    calibrated = mask.with_calibration(make_calibration())
    back = parse_mask(dump_mask(calibrated), "x")
    assert back == calibrated
    assert back.metadata.calibration == make_calibration()
    # The file differs in that key and in the checksum over it, and the bits lie as they lay.
    (header, tensors), (plain, plain_tensors) = split(dump_mask(calibrated)), split(data)
    fields, plain_fields = header["__metadata__"], plain["__metadata__"]
    assert json.loads(fields["calibration"])["slope"] == 1.25
    differing = {key for key in fields if fields[key] != plain_fields.get(key)}
    assert differing == {"calibration", "checksum"}
    assert tensors == plain_tensors


def test_a_file_without_a_calibration_is_what_it_was_before_there_were_any(
    mask: RelationMask, data: bytes
) -> None:
    assert "calibration" not in split(data)[0]["__metadata__"]
    assert parse_mask(data, "x").metadata.calibration is None
    assert dump_mask(mask.with_calibration(None)) == data


def test_a_changed_calibration_breaks_the_checksum(
    mask: RelationMask, make_calibration: Callable[..., Calibration]
) -> None:
    data = dump_mask(mask.with_calibration(make_calibration()))
    refused(data.replace(b"0.125", b"0.120"), "checksum")


def test_safetensors_reads_the_metadata(mask: RelationMask, tmp_path: Path) -> None:
    path = tmp_path / "IsA.safetensors"
    save_mask(mask, path)
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert metadata["format_version"] == "1"
    assert metadata["relation"] == "IsA"
    assert json.loads(metadata["shapes"])[QUERY] == [3, 11]
    assert json.loads(metadata["templates"])[0] == "[X] is a [Y]."


def test_a_file_written_by_the_library_is_read(mask: RelationMask, data: bytes) -> None:
    # It orders metadata at random; the contents decide.
    metadata = split(data)[0]["__metadata__"]
    assert parse_mask(safetensors.numpy.save(dict(mask.packed), metadata), "x") == mask


def test_the_real_case_costs_less_than_one_percent(make_mask: MakeMask) -> None:
    matrices = {
        "attention.self.query": (384, 384),
        "attention.self.key": (384, 384),
        "attention.self.value": (384, 384),
        "attention.output.dense": (384, 384),
        "intermediate.dense": (1536, 384),
        "output.dense": (384, 1536),
    }
    keep = {
        f"bert.encoder.layer.{layer}.{name}.weight": np.ones(shape, np.bool_)
        for layer in (3, 4, 5)
        for name, shape in matrices.items()
    }
    mask = make_mask(
        "MotivatedByGoal",
        keep,
        layers=(4, 6),
        base_model="relata/all-MiniLM-L6-v2-mlm",
        templates=tuple(
            f"{i:2} Sometimes people would [X] because they want to [Y]." for i in range(12)
        ),
        validation={f"metric_{i:02}": 0.123456789012345678 for i in range(6)},
        settings={f"hyper_parameter_{i:02}": 3.0000000000004e-05 for i in range(16)},
    )
    assert len(keep) == 18
    assert mask.weight_count == 3 * (4 * 384 * 384 + 2 * 1536 * 384)
    bits = mask.weight_count / 8
    assert len(dump_mask(mask)) < 1.01 * bits


# --- damage ----------------------------------------------------------------------------------


def test_every_flipped_bit_is_refused(data: bytes) -> None:
    accepted = []
    for position in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << (position % 8)
        try:
            parse_mask(bytes(damaged), "x")
        except MaskFileError:
            continue
        accepted.append(position)
    assert accepted == []


def test_every_truncation_is_refused(data: bytes) -> None:
    for length in range(len(data)):
        with pytest.raises(MaskFileError):
            parse_mask(data[:length], "x")


@given(st.data())
def test_overwritten_bytes_never_pass_for_another_mask(
    mask: RelationMask, data: bytes, draw: st.DataObject
) -> None:
    start = draw.draw(st.integers(0, len(data) - 1))
    piece = draw.draw(st.binary(min_size=1, max_size=12))
    damaged = (data[:start] + piece + data[start + len(piece) :])[: len(data)]
    try:
        assert parse_mask(damaged, "x") == mask
        assert damaged == data
    except MaskFileError:
        assert damaged != data


@given(st.binary(max_size=200))
def test_noise_is_refused_with_the_right_error(noise: bytes) -> None:
    with pytest.raises(MaskFileError):
        parse_mask(noise, "x")
    with pytest.raises(MaskFileError):
        parse_mask(len(noise).to_bytes(8, "little") + noise, "x")


def test_the_reason_of_damage_is_named(data: bytes) -> None:
    refused(b"", "truncated or not a safetensors file")
    refused(b"PK\x03\x04" + bytes(40), "truncated or not a safetensors file")
    refused(data[:100], "truncated or not a safetensors file")
    refused(data[:-1], "truncated: .* of the .* bytes")
    refused(data + b"\x00", "1 bytes too many")
    refused(data[:-1] + bytes([data[-1] ^ 1]), "digest")
    refused(data.replace(b"conceptnet", b"conceptnEt"), "checksum")


# --- the container ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"[]", "no JSON object"),
        (b" {}", "no JSON object"),
        (b"{", "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
        (b'{"a":1,"a":1}', "repeated"),
        (b'{"a":"\xff"}', "not valid JSON"),
        (b'{"a":' + b"[" * 100_000, "not valid JSON"),
        (b'{"a":1}', "needs dtype"),
        (b'{"a":{"dtype":"U8"}}', "needs dtype"),
        (b'{"a":{"dtype":"U8","shape":[1,1],"data_offsets":[0]}}', "two numbers"),
        (b'{"a":{"dtype":"U8","shape":[1,1],"data_offsets":"01"}}', "must be a list"),
        (b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', "two numbers"),
        (b'{"a":{"dtype":"U8","shape":[0,99999999999999999999],"data_offsets":[0,0]}}', "shape"),
        (b'{"a":{"dtype":"U8","shape":[1,1],"data_offsets":[-1,0]}}', "integer"),
        (b'{"a":{"dtype":"U8","shape":[1,1],"data_offsets":[1,2]}}', "do not fit"),
        (b'{"a":{"dtype":"U8","shape":[1,2],"data_offsets":[0,1]}}', "do not fit"),
        (b'{"__metadata__":[]}', "strings to strings"),
        (b'{"__metadata__":{"a":1}}', "strings to strings"),
        (b"{}", "no format_version"),
    ],
)
def test_bad_containers(text: bytes, match: str) -> None:
    refused(len(text).to_bytes(8, "little") + text, match)


def test_other_types_of_tensor_are_refused(mask: RelationMask, data: bytes) -> None:
    metadata = split(data)[0]["__metadata__"]
    for dtype in (np.int8, np.bool_, np.float32):
        packed = {**mask.packed, QUERY: mask.packed[QUERY].astype(dtype)}
        refused(safetensors.numpy.save(packed, metadata), "must have dtype U8")


def test_overlapping_tensors_are_refused(data: bytes) -> None:
    header, tensors = split(data)
    names = [name for name in header if name != "__metadata__"]
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]
    refused(join(header, tensors), "do not fit")


# --- metadata --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format_version": "3"}, "'3', but this reader knows only '1' and '2'"),
        ({"format_version": None}, "no mask file"),
        ({"templates": None}, "lack 'templates'"),
        ({"sparsity": None}, "lack 'sparsity'"),
        ({"checksum": None}, "lack 'checksum'"),
        ({"colour": "red"}, "unknown 'colour'"),
        ({"checksum": "sha256:" + "0" * 64}, "checksum"),
        ({"shapes": "{"}, "'shapes' are not valid JSON"),
        ({"shapes": "[" * 100_000}, "'shapes' are not valid JSON"),
        ({"shapes": "[]"}, "shapes must map"),
        ({"shapes": "{}"}, "at least one matrix"),
        ({"shapes": '{"a":[1,1],"a":[1,1]}'}, "repeated"),
        ({"shapes": '{"a":[1,1]}'}, "shapes name a|bits for bert"),
        ({"layers": "[4]"}, "layers"),
        ({"layers": "5"}, "layers"),
        ({"layers": "[6,4]"}, "layers"),
        ({"layers": "[4,4]"}, "belongs to layer 5"),
        ({"layers": "{}"}, "layers"),
        ({"threshold": "NaN"}, "'threshold' are not valid JSON"),
        ({"threshold": "1e999"}, "threshold"),
        ({"threshold": '"0.5"'}, "threshold"),
        ({"seed": "1.5"}, "seed"),
        ({"seed": "1" * 5000}, "'seed' are not valid JSON"),
        ({"relation": ""}, "not a name"),
        ({"relation": "../../IsA"}, "not a name"),
        ({"method": "guess"}, "method"),
        ({"base_digest": "sha256:00"}, "base_digest"),
        ({"digest": "00"}, "digest must be"),
        ({"digest": "sha256:" + "0" * 64}, "have digest sha256:.* metadata say sha256:0000"),
        ({"base_digest": "sha256:" + "0" * 64}, "have digest"),
        ({"sparsity": "0.5"}, "have sparsity .* metadata say 0.5"),
        ({"sparsity": "7"}, "sparsity must be from 0 to 1"),
        ({"sparsity": "null"}, "sparsity"),
        ({"templates": "[]"}, "at least one template"),
        ({"templates": '["[X] only"]'}, "template needs"),
        ({"templates": '["only [Y]"]'}, "template needs"),
        ({"templates": '"[X] [Y]"'}, "templates must be a list"),
        ({"templates": "[1]"}, "template"),
        ({"validation": '{"mrr":"high"}'}, "mrr"),
        ({"settings": '{"lr":{}}'}, "lr"),
        ({"facts": '{"train":-1}'}, "train"),
        ({"facts": "3"}, "facts"),
        ({"calibration": "{"}, "'calibration' are not valid JSON"),
        ({"calibration": "null"}, "calibration must map"),
        ({"calibration": "[1.0, 0.5]"}, "calibration must map"),
        ({"calibration": "{}"}, "the calibration lacks 'brier'"),
        ({"calibration": spelt(colour=1)}, "the calibration holds the unknown 'colour'"),
        ({"calibration": spelt(slope=-1)}, "slope of the calibration must be above 0"),
        ({"calibration": spelt(facts=1.5)}, "facts of the calibration must be an integer"),
        ({"calibration": spelt(threshold=None)}, "threshold of the calibration"),
    ],
)
def test_bad_metadata(data: bytes, changes: dict[str, str | None], match: str) -> None:
    refused(with_metadata(data, **changes), match)


def test_the_twin_of_the_metadata_test_is_accepted(mask: RelationMask, data: bytes) -> None:
    assert parse_mask(with_metadata(data), "x") == mask


def test_bits_and_shapes_must_agree(mask: RelationMask, data: bytes) -> None:
    metadata = split(data)[0]["__metadata__"]

    def saved(packed: dict[str, NDArray[np.uint8]]) -> bytes:
        return safetensors.numpy.save(packed, metadata)

    packed = dict(mask.packed)
    wide = np.zeros((3, 3), np.uint8)
    refused(saved({n: b for n, b in packed.items() if n != QUERY}), f"shapes name {QUERY}")
    refused(saved({**packed, "extra": wide}), "bits for extra")
    refused(saved({**packed, QUERY: wide}), r"must have shape \(3, 2\) for 3 x 11 weights")
    refused(saved({**packed, QUERY: packed[QUERY] | 0x08}), "beyond its 11 columns|digest")
    refused(saved({**packed, QUERY: packed[QUERY] | 0x80}), "beyond its 11 columns")


# --- files -----------------------------------------------------------------------------------


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MaskFileError, match=r"gone\.safetensors: there is no such file"):
        load_mask(tmp_path / "gone.safetensors")
    with pytest.raises(MaskError, match="cannot be read"):
        load_mask(tmp_path)


def test_a_failed_write_leaves_the_old_file(
    mask: RelationMask, make_mask: MakeMask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "IsA.safetensors"
    save_mask(mask, path)

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_mask(make_mask(seed=1), path)
    assert load_mask(path) == mask
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_readable_by_others_as_the_umask_says(mask: RelationMask, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_mask(mask, tmp_path / "a")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644
