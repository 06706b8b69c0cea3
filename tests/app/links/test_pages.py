"""GET /relations/{relation} and GET /knowledge."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.similarity import Similarities
from masks import RelationMask, overlap, sparsity_by_layer, sparsity_by_role


def test_a_relation_is_shown_with_its_mask_in_detail(
    client: httpx.Client, calibrated_masks: dict[str, RelationMask]
) -> None:
    mask = calibrated_masks["IsA"]
    detail = client.get("/relations/IsA").json()
    listed = {one["name"]: one for one in client.get("/relations").json()["relations"]}
    assert {name: detail[name] for name in listed["IsA"]} == listed["IsA"]
    assert detail["templates"] == ["A [X] is a [Y].", "[X] and [Y]."]
    assert detail["validation"] == {"mrr": 0.25}
    assert (detail["method"], detail["layers"]) == ("deterministic", [3, 4])
    assert detail["sparsity_by_layer"] == {
        str(layer): pytest.approx(share) for layer, share in sparsity_by_layer(mask).items()
    }
    assert detail["sparsity_by_role"] == pytest.approx(sparsity_by_role(mask))
    assert mask.metadata.calibration is not None
    assert detail["calibration"] == pytest.approx(asdict(mask.metadata.calibration))
    assert client.get("/relations/MadeOf").json()["calibration"] is None


def _kept(mask: RelationMask) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.concatenate([mask.keep(name).reshape(-1) for name in mask.shapes])


def test_the_most_similar_relations_are_those_of_the_largest_overlap(
    client: httpx.Client, calibrated_masks: dict[str, RelationMask]
) -> None:
    mine = _kept(calibrated_masks["UsedFor"])
    jaccard = {}
    for name, mask in calibrated_masks.items():
        if name != "UsedFor":
            other = _kept(mask)
            jaccard[name] = (mine & other).sum() / (mine | other).sum()
    similar = client.get("/relations/UsedFor").json()["similar"]
    best = sorted(jaccard, key=lambda name: -jaccard[name])[:10]
    assert [one["name"] for one in similar] == best
    for one in similar:
        assert one["kept"] == pytest.approx(jaccard[one["name"]])
        expected = overlap(calibrated_masks["UsedFor"], calibrated_masks[one["name"]])
        assert one["removed"] == pytest.approx(expected.removed)
        assert one["agreement"] == pytest.approx(expected.agreement)


def test_masks_over_other_weights_are_not_compared(make_mask: Callable[..., RelationMask]) -> None:
    masks = {name: make_mask(name) for name in ("IsA", "MadeOf")}
    wide = masks["IsA"]
    first = dict(list(wide.shapes.items())[:3])
    narrow = RelationMask.from_keep(
        {name: wide.keep(name) for name in first},
        **{
            name: getattr(wide.metadata, name)
            for name in (
                "base_model", "base_digest", "architecture", "layers", "method", "threshold",
                "templates", "data_name", "data_digest", "seed", "validation", "tool_version",
            )
        },
        relation="HasA",
    )  # fmt: skip
    similar = Similarities(masks | {"HasA": narrow})
    assert [one.relation for one in similar.of("IsA")] == ["MadeOf"]
    assert similar.of("HasA") == ()


def test_an_unknown_relation_is_not_shown(
    client: httpx.Client, refused: Callable[..., dict[str, Any]]
) -> None:
    assert refused(client.get("/relations/isa"), 404, "unknown-relation")["nearest"] == "IsA"


def test_relations_are_shown_to_many_at_once(
    client: httpx.Client, calibrated_masks: Mapping[str, RelationMask]
) -> None:
    names = [*calibrated_masks] * 3
    with ThreadPoolExecutor(8) as pool:
        details = list(pool.map(lambda name: client.get(f"/relations/{name}").json(), names))
    assert [detail["name"] for detail in details] == names
    assert all(len(detail["similar"]) == 10 for detail in details)


def test_knowledge_bases_are_listed(
    client: httpx.Client, knowledge_files: tuple[Path, Path]
) -> None:
    animals, things = client.get("/knowledge").json()["knowledge"]
    digest = hashlib.sha256(knowledge_files[0].read_bytes()).hexdigest()
    assert animals == {
        "name": "animals",
        "file": "animals.tsv",
        "format": "tsv",
        "digest": f"sha256:{digest}",
        "triples": 11,
        "entities": 14,
        "subjects": 6,
        "objects": 9,
        "relations": [
            {"name": "IsA", "triples": 6, "subjects": 3, "objects": 5},
            {"name": "UsedFor", "triples": 3, "subjects": 1, "objects": 3},
            {"name": "MadeOf", "triples": 2, "subjects": 2, "objects": 1},
        ],
        "duplicates": 1,
        "bad_lines": 1,
        "first_bad_lines": [{"line": 11, "reason": "it has 2 columns where 3 belong"}],
    }
    assert (things["name"], things["format"], things["triples"]) == ("things", "csv", 2)


def test_limits_name_the_candidates(client: httpx.Client) -> None:
    info = client.get("/info").json()
    assert info["limits"]["candidates"] == 5000
    assert info["settings"]["knowledge"][0].endswith("animals.tsv")


def test_a_service_without_knowledge_says_so(
    start_server: Callable[..., Any], base_folder: Path, pack_folder: Path
) -> None:
    server = start_server("--base", str(base_folder), "--packs", str(pack_folder))
    assert server.client.get("/knowledge").json() == {"knowledge": []}
    query: dict[str, Any] = {"subject": "dog", "relation": "IsA", "filter": True}
    problem = server.client.post("/predict_links", json=query).json()
    assert problem["errors"][0]["pointer"] == "#/filter"
    assert "RELATA_KNOWLEDGE" in problem["detail"]
    query = {"subject": "dog", "relation": "IsA", "candidates": {"knowledge": "animals"}}
    problem = server.client.post("/predict_links", json=query).json()
    assert (problem["status"], problem["known"]) == (404, [])
    server.stop()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("facts.tsv", "dog\tIsA\n", "holds no fact: line 1: it has 2 columns where 3 belong"),
        ("facts.xlsx", "dog\tIsA\tanimal\n", "ends in '.xlsx'; right are .tsv"),
    ],
)
def test_a_knowledge_base_that_cannot_be_used_refuses_the_start(
    run_relata: Callable[..., Any],
    tmp_path: Path,
    base_folder: Path,
    *,
    name: str,
    content: str,
    words: str,
) -> None:
    (tmp_path / name).write_text(content)
    done = run_relata(
        "serve", "--base", str(base_folder), "--packs", "", "--port", "0",
        "--knowledge", str(tmp_path / name),
    )  # fmt: skip
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_every_request_of_the_documentation_runs(client: httpx.Client) -> None:
    text = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    asked = re.findall(
        r"curl [^\n]*(/predict_links|/triples/score|/paths)[^\n]*\\\n\s+-d '(.*?)'\n", text, re.S
    )
    assert {path for path, _ in asked} == {"/predict_links", "/triples/score", "/paths"}
    for path, body in asked:
        answer = client.post(path, json=json.loads(body))
        assert answer.status_code == 200, (body, answer.text)
        for one in answer.json().get("results", []):
            assert "status" not in one, one
