import dataclasses
import pickle
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from masks import Calibration, MaskMetadata, MaskValueError, RelationMask, layer_of, role_of

MakeMask = Callable[..., RelationMask]
QUERY = "bert.encoder.layer.3.attention.self.query.weight"


def test_a_mask_tells_what_was_put_in(
    make_mask: MakeMask, random_keep: Callable[..., dict]
) -> None:
    keep = random_keep(7)
    mask = make_mask("PartOf", keep)
    assert mask.relation == "PartOf"
    assert mask.weight_count == sum(matrix.size for matrix in keep.values())
    kept = sum(int(matrix.sum()) for matrix in keep.values())
    assert mask.sparsity == pytest.approx(1 - kept / mask.weight_count, abs=1e-12)
    for name, matrix in keep.items():
        assert np.array_equal(mask.keep(name), matrix)
    with pytest.raises(KeyError):
        mask.keep("bert.embeddings.weight")


def test_arrays_cannot_be_changed(make_mask: MakeMask) -> None:
    mask = make_mask()
    with pytest.raises(ValueError, match="read-only"):
        mask.packed[QUERY][0, 0] = 1


def test_the_mask_does_not_share_the_makers_arrays(make_mask: MakeMask) -> None:
    mask = make_mask()
    mine = {name: bits.copy() for name, bits in mask.packed.items()}
    twin = RelationMask(mask.metadata, mine)
    mine[QUERY][:] = 0
    assert np.array_equal(twin.packed[QUERY], mask.packed[QUERY])
    assert twin == mask


def test_equality_is_of_metadata_and_bits(
    make_mask: MakeMask, random_keep: Callable[..., dict]
) -> None:
    assert make_mask() == make_mask()
    assert hash(make_mask()) == hash(make_mask())
    assert make_mask() != make_mask(seed=1)
    assert make_mask().digest == make_mask(seed=1).digest
    assert make_mask() != make_mask(keep=random_keep(1))
    assert make_mask() != "IsA"


def test_a_calibration_changes_the_mask_but_not_its_identity(
    make_mask: MakeMask, make_calibration: Callable[..., Calibration]
) -> None:
    mask = make_mask()
    calibrated = mask.with_calibration(make_calibration())
    assert calibrated.metadata.calibration == make_calibration()
    assert calibrated == make_mask(calibration=make_calibration())
    assert calibrated != mask
    assert (calibrated.digest, calibrated.sparsity) == (mask.digest, mask.sparsity)
    assert calibrated.with_calibration(None) == mask
    assert pickle.loads(pickle.dumps(calibrated)) == calibrated


def test_masks_travel_between_processes(make_mask: MakeMask) -> None:
    assert pickle.loads(pickle.dumps(make_mask())) == make_mask()
    assert dataclasses.asdict(make_mask().metadata)["facts"]["train"] == 70


def test_bits_must_fit_metadata(make_mask: MakeMask) -> None:
    mask = make_mask()
    packed = dict(mask.packed)

    def refused(changed: dict, match: str) -> None:
        with pytest.raises(MaskValueError, match=match):
            RelationMask(mask.metadata, changed)

    refused({n: b for n, b in packed.items() if n != QUERY}, "no bits for it")
    refused({**packed, "other": packed[QUERY]}, "shapes do not name it")
    refused({**packed, QUERY: packed[QUERY].astype(np.int8)}, "must be uint8")
    refused({**packed, QUERY: packed[QUERY][:, :1]}, r"must have shape \(3, 2\)")
    refused({**packed, QUERY: packed[QUERY].reshape(-1)}, r"must have shape \(3, 2\)")
    refused({**packed, QUERY: packed[QUERY] | 0x80}, "beyond its 11 columns")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"relation": ""}, "not a name"),
        ({"relation": "9lives"}, "not a name"),
        ({"relation": "../IsA"}, "not a name"),
        ({"relation": "Is A"}, "not a name"),
        ({"relation": "IsA\n"}, "not a name"),
        ({"relation": "É"}, "not a name"),
        ({"relation": "a" * 129}, "not a name"),
        ({"base_model": " "}, "base_model"),
        ({"base_model": "a\nb"}, "control"),
        ({"base_model": "a\ud800"}, "control"),
        ({"base_digest": "sha256:12"}, "base_digest"),
        ({"base_digest": "sha256:" + "AB" * 32}, "base_digest"),
        ({"data_digest": "md5:" + "ab" * 16}, "data_digest"),
        ({"architecture": ""}, "architecture"),
        ({"layers": (0, 3)}, "layers"),
        ({"layers": (5, 4)}, "layers"),
        ({"layers": (4,)}, "layers"),
        ({"layers": (True, 5)}, "layers"),
        ({"layers": "45"}, "layers"),
        ({"layers": (4.0, 5)}, "layers"),
        ({"layers": (5, 6)}, "belongs to layer 4"),
        ({"layers": (3, 4)}, "belongs to layer 5"),
        ({"method": "magic"}, "deterministic or stochastic or top-k or hard-concrete"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"threshold": True}, "threshold"),
        ({"templates": ()}, "at least one template"),
        ({"templates": "[X] is a [Y]."}, "templates"),
        ({"templates": ("[X] is.",)}, "template needs"),
        ({"templates": ("A [Y].",)}, "template needs"),
        ({"templates": ("[X] [Y] [Y]",)}, "template needs"),
        ({"templates": ("[X] [Y]", "x y")}, "template needs"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"validation": {"mrr": float("inf")}}, "mrr"),
        ({"validation": {"mrr": 10**400}}, "mrr"),
        ({"validation": {"mrr": "0.5"}}, "mrr"),
        ({"validation": {"": 0.5}}, "validation"),
        ({"validation": [("mrr", 0.5)]}, "validation"),
        ({"settings": {"lr": float("nan")}}, "lr"),
        ({"settings": {"lr": [1]}}, "lr"),
        ({"settings": {"lr": "a\x00"}}, "control"),
        ({"facts": {"train": -1}}, "train"),
        ({"facts": {"train": True}}, "train"),
        ({"tool_version": None}, "tool_version"),
        ({"calibration": {"slope": 1.0}}, "calibration must be a Calibration"),
    ],
)
def test_metadata_are_checked(make_mask: MakeMask, fields: dict, match: str) -> None:
    with pytest.raises(MaskValueError, match=match):
        make_mask(**fields)


@pytest.mark.parametrize(
    "shapes",
    [
        {},
        {"w": (0, 4)},
        {"w": (4, 0)},
        {"w": (4,)},
        {"w": (4, 4.0)},
        {"w": 4},
        {"": (1, 1)},
        {"__metadata__": (1, 1)},
    ],
)
def test_shapes_are_checked(make_mask: MakeMask, shapes: dict) -> None:
    with pytest.raises(MaskValueError, match="shape"):
        dataclasses.replace(make_mask().metadata, shapes=shapes)


def test_mappings_are_copied(make_mask: MakeMask) -> None:
    facts = {"train": 1}
    metadata = dataclasses.replace(make_mask().metadata, facts=facts)
    facts["train"] = 2
    assert metadata.facts == {"train": 1}
    assert isinstance(hash(metadata), int)
    assert isinstance(metadata, MaskMetadata)


@pytest.mark.parametrize(
    ("name", "layer", "role"),
    [
        (QUERY, 4, "query"),
        ("bert.encoder.layer.11.attention.output.dense.weight", 12, "attention_output"),
        ("roberta.encoder.layer.0.output.dense.weight", 1, "feed_forward_out"),
        ("distilbert.transformer.layer.5.ffn.lin1.weight", 6, "feed_forward_in"),
        ("distilbert.transformer.layer.5.attention.k_lin.weight", 6, "key"),
        ("mpnet.encoder.layer.6.attention.attn.v.weight", 7, "value"),
        ("encoder.layer.2.intermediate.dense.weight", 3, "feed_forward_in"),
        ("layer.2.strange.weight", 3, None),
        ("bert.embeddings.word_embeddings.weight", None, None),
        ("player.3.attention.self.query.weight", None, None),
        (f"layer.{'9' * 5000}.output.dense.weight", None, None),
    ],
)
def test_places_of_parameters(name: str, layer: int | None, role: str | None) -> None:
    assert layer_of(name) == layer
    assert role_of(name) == role


def test_importing_masks_loads_no_model_library_and_no_web() -> None:
    heavy = "{'torch', 'transformers', 'pydantic', 'fastapi', 'starlette', 'httpx'}"
    code = f"import sys, masks; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
