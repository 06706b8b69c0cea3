"""Files of the LAMP paper as masks: the same model, and nothing run or taken on trust."""

import os
import pickle
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForMaskedLM

import plm
from masks import MaskValueError, check_fits, combine_masks
from tests.hugging_face import model_of
from tests.plm.conftest import ARCHITECTURES, make_folder
from tests.training.lamp_files import (
    MODELS,
    lamp_name,
    modules_of,
    prune_as_lamp,
    random_scores,
    save_lamp,
)
from training.data import RelationTemplates
from training.importing import LampError, lamp_mask, parse_lamp_name, read_lamp_scores

IS_A = RelationTemplates("IsA", "a [X] is a [Y] .", ("the [X] is one [Y] .", "a [X] is a [Y] ."))


@pytest.fixture
def scores(base: plm.BaseModel) -> list[nn.Parameter]:
    """Of layers 3 and 4 of the tiny BERT of training's tests."""
    return random_scores(modules_of(model_of(base), "bert", 2, 3))


def logits(model: Any, base: plm.BaseModel, prompt: plm.EncodedPrompt) -> torch.Tensor:
    batch = plm.collate([prompt], base)
    with torch.no_grad():
        found = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    return found[[0], batch.mask_positions]


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_the_masked_model_is_the_one_that_lamp_prunes(model_type: str, tmp_path: Path) -> None:
    folder = make_folder(model_type, tmp_path / "tiny")
    base = plm.load_base(folder, device="cpu")
    reference = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompt = plm.encode_prompt(base, plm.Template.parse("[X] is a [Y]."), "linen")
    unmasked = logits(reference, base, prompt)
    modules = modules_of(reference, model_type, 1, 2)
    scores = random_scores(modules)
    prune_as_lamp(modules, scores)
    path = tmp_path / lamp_name(model_type, "IsA", 12, 1, 2)
    torch.save(scores, path)

    mask = lamp_mask(base, path, templates=IS_A)

    check_fits(mask, base.digest, base.shapes(1, 4))
    assert mask.metadata.layers == (2, 3)
    found = plm.Engine(base).logits([prompt.row], [combine_masks([mask])])
    torch.testing.assert_close(found, logits(reference, base, prompt), atol=1e-5, rtol=1e-5)
    assert (found - unmasked).abs().max() > 1e-2
    kept = sum(int((matrix > 0).sum()) for matrix in scores)
    assert mask.sparsity == (mask.weight_count - kept) / mask.weight_count


def test_a_score_of_zero_removes_its_weight(base: plm.BaseModel, tmp_path: Path) -> None:
    shapes = [module.weight.shape for module in modules_of(model_of(base), "bert", 2, 3)]
    path = save_lamp(tmp_path, [nn.Parameter(torch.zeros(shape)) for shape in shapes])
    assert lamp_mask(base, path, templates=IS_A).sparsity == 1.0
    path = save_lamp(tmp_path, [nn.Parameter(torch.full(shape, 1e-3)) for shape in shapes])
    assert lamp_mask(base, path, templates=IS_A).sparsity == 0.0


def test_what_the_mask_says_of_itself(
    base: plm.BaseModel, scores: list[nn.Parameter], tmp_path: Path
) -> None:
    path = save_lamp(tmp_path, scores)
    mask = lamp_mask(base, path, templates=IS_A)
    metadata = mask.metadata
    assert (metadata.relation, metadata.layers, metadata.architecture) == ("IsA", (3, 4), "bert")
    assert (metadata.method, metadata.threshold) == ("deterministic", 0.5)
    assert metadata.templates == ("a [X] is a [Y] .", "the [X] is one [Y] .")
    assert metadata.data_name == f"LAMP (Ren & Zhu), imported from {path.name}"
    assert metadata.data_digest == f"sha256:{sha256(path.read_bytes()).hexdigest()}"
    assert (metadata.validation, metadata.facts) == ({}, {})
    assert metadata.settings["lamp_model"] == "bert-base-uncased"

    soft = path.rename(path.with_name(path.name.replace("_hard", "")))
    assert lamp_mask(base, soft, templates=IS_A).metadata.method == "stochastic"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "bert-base-uncased_IsA_36_6_11_init>normal_hard.pickle",
            ("bert-base-uncased", "IsA", 36, (7, 12), "normal", True, "bert"),
        ),
        (
            "mpnet-base_AtLocation_36_6_11_init>normal_hard.pickle",
            ("mpnet-base", "AtLocation", 36, (7, 12), "normal", True, "mpnet"),
        ),
        (
            "distilbert-base-uncased_place_of_birth_18_3_5_init>2.95.pickle",
            ("distilbert-base-uncased", "place_of_birth", 18, (4, 6), "2.95", False, "distilbert"),
        ),
        (
            "distilroberta-base_P19_18_3_5_init_ones_hard.pickle",
            ("distilroberta-base", "P19", 18, (4, 6), "ones", True, "roberta"),
        ),
        ("IsA.pickle", None),
        ("bert-base-uncased_IsA_36_6_init>normal_hard.pickle", None),
    ],
)
def test_the_parts_of_a_name(name: str, expected: tuple[Any, ...] | None) -> None:
    found = parse_lamp_name(name)
    if expected is None or found is None:
        assert found is expected
        return
    parts = (found.model, found.relation, found.matrices, found.layers, found.start, found.hard)
    assert (*parts, found.family) == expected


def test_a_file_of_another_name_covers_the_last_layers(
    base: plm.BaseModel, scores: list[nn.Parameter], tmp_path: Path
) -> None:
    path = tmp_path / "mine.pt"
    torch.save(scores, path)
    with pytest.raises(LampError, match=r"does not say the relation.*give --relation"):
        lamp_mask(base, path, templates=IS_A)
    mask = lamp_mask(base, path, relation="IsA", templates=IS_A)
    named = lamp_mask(base, save_lamp(tmp_path, scores), templates=IS_A)
    assert (mask.metadata.layers, mask.digest) == ((3, 4), named.digest)
    lower = lamp_mask(base, path, relation="IsA", templates=IS_A, layers=(1, 2))
    assert lower.metadata.layers == (1, 2)


def test_a_relation_that_is_numbered_needs_a_name(
    base: plm.BaseModel, scores: list[nn.Parameter], tmp_path: Path
) -> None:
    path = save_lamp(tmp_path, scores, "6")
    with pytest.raises(LampError, match=r"number, 6, .* by --relation"):
        lamp_mask(base, path, templates=IS_A)
    assert lamp_mask(base, path, relation="IsA", templates=IS_A).relation == "IsA"
    with pytest.raises(MaskValueError, match="is not a name"):
        lamp_mask(base, path, relation="is a", templates=IS_A)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize(
    "shape",
    [
        list,
        tuple,
        lambda scores: dict(enumerate(scores)),
        lambda scores: nn.ParameterList(scores).state_dict(),
        lambda scores: [matrix.detach() for matrix in scores],
    ],
    ids=["list", "tuple", "dict", "state", "tensors"],
)
def test_shapes_of_content_that_are_read(
    scores: list[nn.Parameter], shape: Callable[[Any], object], old: bool, tmp_path: Path
) -> None:
    path = tmp_path / "scores.pickle"
    torch.save(shape(scores), path, _use_new_zipfile_serialization=not old)
    read = read_lamp_scores(path)
    assert all(map(torch.equal, read.matrices, scores))
    assert len(read.matrices) == len(scores)


def test_a_numbered_mapping_is_read_by_number(scores: list[nn.Parameter], tmp_path: Path) -> None:
    torch.save({str(place): scores[place] for place in reversed(range(12))}, tmp_path / "a.pt")
    assert all(map(torch.equal, read_lamp_scores(tmp_path / "a.pt").matrices, scores))


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "before torch 1.6"])
def test_code_in_a_file_is_refused_and_not_run(
    scores: list[nn.Parameter], old: bool, tmp_path: Path
) -> None:
    harm = tmp_path / "harm"
    content = [*scores, Harmful(harm)]
    torch.save(content, tmp_path / "a.pickle", _use_new_zipfile_serialization=not old)
    with pytest.raises(LampError, match=r"a\.pickle: refused, .* run (posix|nt)\.mkdir") as refusal:
        read_lamp_scores(tmp_path / "a.pickle")
    assert not harm.exists()
    assert "weights_only" not in str(refusal.value)  # torch advises to switch it off
    (tmp_path / "b.pickle").write_bytes(pickle.dumps(Harmful(harm), protocol=2))
    with pytest.raises(LampError, match=r"b\.pickle: "):
        read_lamp_scores(tmp_path / "b.pickle")
    assert not harm.exists()


def test_a_pickled_module_is_refused(scores: list[nn.Parameter], tmp_path: Path) -> None:
    torch.save(nn.ParameterList(scores), tmp_path / "a.pickle")
    with pytest.raises(LampError, match=r"ParameterList; .* save list\(parameters\) anew"):
        read_lamp_scores(tmp_path / "a.pickle")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "holds no score matrix"),
        ({}, "holds no score matrix"),
        (torch.ones(2, 2), "holds one tensor, but"),
        ("IsA", "holds a str, but"),
        ([torch.ones(2, 2), None], "item 1 is a NoneType, not a matrix"),
        ([torch.ones(2, 2), [torch.ones(2, 2)]], "item 1 is a list, not a matrix"),
        ([torch.ones(2)], r"item 0 has shape \(2,\)"),
        ([torch.ones(2, 2, dtype=torch.int64)], "item 0 has type torch.int64"),
        ([torch.ones(2, 2, dtype=torch.bool)], "item 0 has type torch.bool"),
        ([torch.ones(2, 2).to_sparse()], "item 0 is a torch.sparse_coo tensor"),
        ([torch.ones(2, 2, device="meta")], "item 0 is a torch.strided tensor on meta"),
        ({"query": torch.ones(2, 2)}, "named 'query' and the like"),
        ({0: torch.ones(2, 2), 2: torch.ones(2, 2)}, "named '2' and the like"),
        ({0: torch.ones(2, 2), "0": torch.ones(2, 2)}, "a key that comes twice"),
    ],
)
def test_content_that_is_no_list_of_scores(content: object, reason: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pickle")
    with pytest.raises(LampError, match=reason):
        read_lamp_scores(tmp_path / "a.pickle")


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", b"PK\x03\x04 no archive", pickle.dumps([1, 2]), b"\x80\x02."]
)
def test_a_file_that_torch_did_not_save(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pickle").write_bytes(content)
    with pytest.raises(LampError, match=r"a\.pickle: is no file that torch\.save wrote"):
        read_lamp_scores(tmp_path / "a.pickle")


def test_a_file_that_was_cut_off(scores: list[nn.Parameter], tmp_path: Path) -> None:
    path = save_lamp(tmp_path, scores)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(LampError, match="is no file that torch"):
        read_lamp_scores(path)


@pytest.mark.parametrize("name", ["missing.pickle", "."])
def test_a_file_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(LampError, match="cannot be read"):
        read_lamp_scores(tmp_path / name)


def test_too_few_matrices(base: plm.BaseModel, scores: list[nn.Parameter], tmp_path: Path) -> None:
    with pytest.raises(LampError, match="holds 11 matrices, but its name says 12"):
        lamp_mask(base, save_lamp(tmp_path, scores[:11]), templates=IS_A)
    torch.save(scores[:11], tmp_path / "a.pickle")
    given: dict[str, Any] = {"relation": "IsA", "templates": IS_A}
    with pytest.raises(LampError, match=r"holds 11 matrices; right would be 6 for each"):
        lamp_mask(base, tmp_path / "a.pickle", **given)
    with pytest.raises(LampError, match=r"holds 11 matrices; right would be 6, 6 for .* 4 to 4"):
        lamp_mask(base, tmp_path / "a.pickle", layers=(4, 4), **given)
    torch.save(scores * 3, tmp_path / "b.pickle")
    with pytest.raises(LampError, match=r"holds 36 matrices; .* has 4 layers"):
        lamp_mask(base, tmp_path / "b.pickle", **given)


def test_layers_that_the_base_does_not_have(
    base: plm.BaseModel, scores: list[nn.Parameter], tmp_path: Path
) -> None:
    path = tmp_path / lamp_name("bert", "IsA", 12, 10, 11)
    torch.save(scores, path)
    with pytest.raises(LampError, match=r"layers 11 to 12 .*, but base has layers 1 to 4"):
        lamp_mask(base, path, templates=IS_A)


def test_the_first_shape_that_does_not_fit_is_named(
    base: plm.BaseModel, scores: list[nn.Parameter], tmp_path: Path
) -> None:
    turned = [*scores[:10], nn.Parameter(scores[10].T.contiguous()), nn.Parameter(torch.ones(2, 3))]
    with pytest.raises(LampError, match=r"item 10, the feed_forward_in scores of layer 4, .*") as e:
        lamp_mask(base, save_lamp(tmp_path, turned), templates=IS_A)
    assert str(e.value).endswith("(32, 64); right would be (64, 32); it is transposed")
    scores[1] = nn.Parameter(torch.ones(2, 3))
    with pytest.raises(LampError, match=r"key scores of layer 3, has shape \(2, 3\).*\(32, 32\)$"):
        lamp_mask(base, save_lamp(tmp_path, scores), templates=IS_A)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_no_numbers(
    value: float, base: plm.BaseModel, scores: list[nn.Parameter], tmp_path: Path
) -> None:
    with torch.no_grad():
        scores[7][3, 3] = value
    with pytest.raises(LampError, match="item 7 holds scores that are no finite numbers"):
        lamp_mask(base, save_lamp(tmp_path, scores), templates=IS_A)


@pytest.mark.parametrize("model_type", sorted(MODELS.keys() - {"bert"}))
def test_scores_of_another_architecture_of_the_same_shapes(
    model_type: str, base: plm.BaseModel, scores: list[nn.Parameter], tmp_path: Path
) -> None:
    path = save_lamp(tmp_path, scores, model_type=model_type)
    with pytest.raises(LampError, match=f"a {model_type}, but base .* is a bert"):
        lamp_mask(base, path, templates=IS_A)
