"""A mask of 8 bits a weight over HTTP: uploaded, asked, listed, and refused in company."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from masks import MaskPack, RelationMask, dump_mask, write_pack

MakeMask = Callable[..., RelationMask]

KEY = "an-admin-key-of-some-length"
ADMIN = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def mask(make_expectation: MakeMask) -> RelationMask:
    return make_expectation("IsA")


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("soft") / "uploads"


@pytest.fixture(scope="module")
def client(
    start_server: Callable[..., Any],
    base_folder: Path,
    uploads: Path,
    make_mask: MakeMask,
    mask: RelationMask,
) -> Iterator[httpx.Client]:
    """UsedFor and MadeOf have one bit a weight and are packed, IsA has eight and is uploaded."""
    pack = uploads.with_name("pack")
    write_pack(pack, [make_mask("UsedFor"), make_mask("MadeOf")], name="hard")
    client = start_server(
        "--base", str(base_folder), "--packs", str(pack), "--uploads", str(uploads),
        "--threads", "1", environment={"RELATA_ADMIN_KEY": KEY},
    ).client  # fmt: skip
    uploaded = client.put("/masks/IsA", content=dump_mask(mask), headers=ADMIN)
    assert uploaded.status_code == 201, uploaded.text
    assert uploaded.json()["bits_per_weight"] == 8
    yield client
    assert client.get("/ready").status_code == 200


def _expected(folder: Path, mask: RelationMask, sentence: str) -> dict[str, float]:
    """Log-probabilities by token of the Hugging Face model with its weights multiplied."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        for name in mask.shapes:
            values = torch.from_numpy(mask.values(name).copy())
            model.get_parameter(name).mul_(values.float() / 255)
        batch = tokenizer(sentence, return_tensors="pt")
        logits = model(**batch).logits[batch["input_ids"] == tokenizer.mask_token_id]
    log_probs = logits[0].log_softmax(-1).tolist()
    return dict(zip(tokenizer.convert_ids_to_tokens(range(len(log_probs))), log_probs, strict=True))


def test_answers_are_those_of_the_model_with_its_weights_multiplied(
    client: httpx.Client, base_folder: Path, mask: RelationMask
) -> None:
    expected = _expected(base_folder, mask, "A linen is a [MASK].")
    # Twice: made at use, and kept. In company of masks of one bit, in the same pass if it comes so.
    queries = [{"subject": "linen", "relation": name} for name in ("UsedFor", "IsA", "MadeOf")]
    for subject in ("dog", "cat"):
        client.post("/complete", json={"subject": subject, "relation": "IsA"}).raise_for_status()
    answers = client.post("/complete", json={"queries": queries}).json()["results"]
    answer = answers[1]
    assert answer["mask"]["digest"] == mask.digest
    assert answer["mask"]["sparsity"] == pytest.approx(mask.sparsity)
    found = {item["object"]: item["log_prob"] for item in answer["completions"]}
    assert len(found) == 10
    assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-4)


def test_it_is_listed_and_shown_with_its_bits(
    client: httpx.Client, uploads: Path, mask: RelationMask
) -> None:
    listed = {one["relation"]: one for one in client.get("/masks").json()["masks"]}
    assert {name: one["bits_per_weight"] for name, one in listed.items()} == {
        "IsA": 8, "UsedFor": 1, "MadeOf": 1,
    }  # fmt: skip
    assert listed["IsA"]["sparsity"] == pytest.approx(mask.sparsity)
    assert listed["IsA"]["threshold"] is None
    assert client.get("/masks/IsA").content == dump_mask(mask)
    assert MaskPack.open(uploads).load("IsA") == mask
    detail = client.get("/relations/IsA").json()
    assert (detail["bits_per_weight"], detail["similar"]) == (8, [])
    assert detail["sparsity_by_layer"].keys() == {"3", "4"}
    similar = client.get("/relations/UsedFor").json()["similar"]
    assert [one["name"] for one in similar] == ["MadeOf"]


@pytest.mark.parametrize("combine", [None, "union", "intersection", "difference", "vote:2"])
def test_with_another_mask_it_is_refused(
    client: httpx.Client, refused: Callable[..., dict[str, Any]], combine: str | None
) -> None:
    query = {"subject": "linen", "relation": ["UsedFor", "IsA"], "combine": combine}
    problem = refused(client.post("/complete", json=query), 422, "invalid-combine")
    (error,) = problem["errors"]
    assert error["pointer"] == "#/relation"
    assert "Mask IsA has 8 bits a weight" in error["detail"]
    assert "ask under IsA alone" in error["detail"]
    # Alone in a list it is itself.
    alone = client.post("/complete", json={"subject": "linen", "relation": ["IsA"]})
    assert alone.status_code == 200


def test_other_questions_refuse_it_alike(
    client: httpx.Client, refused: Callable[..., dict[str, Any]]
) -> None:
    query = {"subject": "linen", "relation": ["IsA", "MadeOf"], "top_k": 3}
    refused(client.post("/predict_links", json=query), 422, "invalid-combine")
    path = {"subject": "linen", "relations": ["UsedFor", ["IsA", "MadeOf"]]}
    problem = refused(client.post("/paths", json=path), 422, "invalid-combine")
    assert "Mask IsA has 8 bits" in problem["errors"][0]["detail"]


def test_a_file_that_says_other_bits_is_refused(
    client: httpx.Client, refused: Callable[..., dict[str, Any]], mask: RelationMask
) -> None:
    data = dump_mask(mask)
    for changed in (data[:-1], data.replace(b'"bits_per_weight":"8"', b'"bits_per_weight":"1"')):
        response = client.put("/masks/IsA", content=changed, headers=ADMIN)
        refused(response, 422, "invalid-mask-file")
    assert client.get("/masks/IsA").content == data
