"""Mask files that do not hold are refused, told, and never answered for."""

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from masks import RelationMask, write_pack
from masks.container import Container, read_container, write_container
from masks.header import checksum

Refused = Callable[..., dict[str, Any]]

# Relation -> what its reason must say.
REASONS = {
    "Causes": "sha256",
    "Desires": "sha256",
    "HasA": "truncated",
    "IsA": "digest",
    "MadeOf": "was made for base",
    "PartOf": "format_version",
    "UsedFor": "beyond its",
    "CapableOf": "no such file",
}


def _change(folder: Path, relation: str, change: Callable[[bytes], bytes], *, listed: bool) -> None:
    """Change a mask file; if `listed`, its manifest lists the changed file."""
    path = folder / f"{relation}.safetensors"
    data = change(path.read_bytes())
    path.write_bytes(data)
    if listed:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["masks"][relation]["sha256"] = sha256(data).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))


def _cut(data: bytes) -> bytes:
    return data[:-100]


def _flip(data: bytes) -> bytes:
    return data[:-50] + bytes([data[-50] ^ 4]) + data[-49:]


def _unknown_version(data: bytes) -> bytes:
    container = read_container(data)
    metadata = {**container.metadata, "format_version": "99"}
    return write_container(
        Container({**metadata, "checksum": checksum(metadata)}, container.tensors)
    )


def _trailing_bits(data: bytes) -> bytes:
    # The tiny base's matrices have whole bytes; one column less leaves a bit of padding, set.
    container = read_container(data)
    shapes = json.loads(container.metadata["shapes"])
    name = next(iter(shapes))
    shapes[name][1] -= 1
    metadata = {**container.metadata, "shapes": json.dumps(shapes, separators=(",", ":"))}
    tensors = {**container.tensors, name: np.full_like(container.tensors[name], 255)}
    return write_container(Container({**metadata, "checksum": checksum(metadata)}, tensors))


@pytest.fixture(scope="module")
def bad_pack(
    tmp_path_factory: pytest.TempPathFactory,
    make_mask: Callable[..., RelationMask],
    relation_masks: dict[str, RelationMask],
) -> Path:
    folder = tmp_path_factory.mktemp("packs") / "bad"
    foreign = make_mask("MadeOf", base_digest="sha256:" + "f" * 64)
    # A file of another base can only be listed by a pack of that base.
    write_pack(folder.with_name("foreign"), [foreign], name="foreign")
    here = (REASONS.keys() | {"AtLocation"}) - {"MadeOf"}
    write_pack(folder, [relation_masks[name] for name in here], name="bad")
    _change(folder, "Causes", _cut, listed=False)
    _change(folder, "Desires", _flip, listed=False)
    _change(folder, "HasA", _cut, listed=True)
    _change(folder, "IsA", _flip, listed=True)
    _change(folder, "PartOf", _unknown_version, listed=True)
    _change(folder, "UsedFor", _trailing_bits, listed=True)
    (folder / "CapableOf.safetensors").unlink()
    shutil.copy(folder / "AtLocation.safetensors", folder / "Stray.safetensors")
    return folder


@pytest.fixture(scope="module")
def foreign_pack(bad_pack: Path) -> Path:
    return bad_pack.with_name("foreign")


@pytest.fixture(scope="module")
def bad_server(
    start_server: Callable[..., Any], base_folder: Path, bad_pack: Path, foreign_pack: Path
) -> Any:
    return start_server("--base", str(base_folder), "--packs", f"{bad_pack},{foreign_pack}")


@pytest.mark.parametrize(("relation", "reason"), REASONS.items())
def test_a_refused_relation_is_told_with_its_reason(
    bad_server: Any, refused: Refused, relation: str, reason: str
) -> None:
    for query in (
        {"subject": "linen", "relation": relation},
        {"subject": "linen", "relation": ["AtLocation", relation]},
        {"subject": "linen", "relation": relation, "masked": False},
    ):
        response = bad_server.client.post("/complete", json=query)
        problem = refused(response, 404, "refused-relation")
        assert problem["known"] == ["AtLocation"]
        assert reason in problem["reason"]
        assert problem["reason"] in problem["detail"]
        assert f"{relation}.safetensors" in problem["detail"]
    refused(bad_server.client.get(f"/relations/{relation}"), 404, "refused-relation")


def test_the_refused_files_are_listed_and_logged(bad_server: Any) -> None:
    listing = bad_server.client.get("/masks").json()
    assert [mask["relation"] for mask in listing["masks"]] == ["AtLocation"]
    found = {entry["relation"]: entry for entry in listing["refused"]}
    assert set(found) == {*REASONS, None}
    for relation, reason in REASONS.items():
        assert reason in found[relation]["reason"]
        assert found[relation]["file"] == f"{relation}.safetensors"
        assert f"{relation}.safetensors is refused" in bad_server.log.read_text()
    assert found[None]["file"] == "Stray.safetensors"
    # Paths of the machine are for its log only.
    assert "/" not in "".join(entry["reason"] for entry in listing["refused"])


def test_the_other_relations_are_served(bad_server: Any) -> None:
    query = {"subject": "linen", "relation": "AtLocation"}
    response: httpx.Response = bad_server.client.post("/complete", json=query)
    assert response.status_code == 200
    assert response.json()["mask"]["relations"] == ["AtLocation"]
    assert [
        relation["name"] for relation in bad_server.client.get("/relations").json()["relations"]
    ] == ["AtLocation"]


def test_two_packs_with_the_same_relation_do_not_start(
    run_relata: Callable[..., Any], base_folder: Path, pack_folder: Path, foreign_pack: Path
) -> None:
    result = run_relata(
        "serve", "--port", "0", "--base", str(base_folder),
        "--packs", f"{pack_folder},{foreign_pack}",
    )  # fmt: skip
    assert result.returncode == 2
    assert "relation MadeOf is in two packs" in result.stderr
    assert str(foreign_pack) in result.stderr
    assert "Traceback" not in result.stderr
