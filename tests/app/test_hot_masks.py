"""Masks that change while they are served, over HTTP."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

import relata
from app.service import Service
from app.settings import Settings
from masks import (
    MaskPack,
    RelationMask,
    add_to_pack,
    dump_mask,
    remove_from_pack,
    write_pack,
)

MakeMask = Callable[..., RelationMask]
StartServer = Callable[..., Any]

KEY = "an-admin-key-of-some-length"
API_KEY = "a-key-for-questions-only"
ADMIN = {"Authorization": f"Bearer {KEY}"}
SUBJECTS = ("linen", "dog", "cat", "bird", "stone", "water", "knife", "shirt")


def _put(client: httpx.Client, mask: RelationMask, **headers: str) -> httpx.Response:
    return client.put(f"/masks/{mask.relation}", content=dump_mask(mask), headers=ADMIN | headers)


def _tag(mask: RelationMask) -> str:
    return f'"{sha256(dump_mask(mask)).hexdigest()}"'


def _digest(client: httpx.Client, relation: str) -> str | None:
    """The digest of an answer under a relation's mask; None if it is not served."""
    response = client.post("/complete", json={"subject": "dog", "relation": relation})
    if response.status_code == 404:
        return None
    digest: str = response.raise_for_status().json()["mask"]["digest"]
    return digest


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory, relation_masks: Mapping[str, RelationMask]
) -> Path:
    """Holds a pack and, as soon as there are some, uploads."""
    folder = tmp_path_factory.mktemp("hot")
    names = ("IsA", "HasA", "UsedFor", "PartOf")
    write_pack(folder / "pack", [relation_masks[name] for name in names], name="tiny")
    return folder


@pytest.fixture(scope="module")
def start_hot(
    start_server: StartServer, base_folder: Path, folders: Path
) -> Callable[..., httpx.Client]:
    def start(*flags: str) -> httpx.Client:
        client: httpx.Client = start_server(
            "--base", str(base_folder), "--packs", str(folders / "pack"), "--threads", "1",
            "--max-mask-bytes", "64KiB", "--watch-seconds", "0.1", *flags,
            environment={"RELATA_ADMIN_KEY": KEY},
        ).client  # fmt: skip
        return client

    return start


@pytest.fixture(scope="module")
def client(start_hot: Callable[..., httpx.Client], folders: Path) -> httpx.Client:
    return start_hot("--uploads", str(folders / "uploads"))


@pytest.fixture(autouse=True)
def _alive(client: httpx.Client) -> Iterator[None]:
    yield
    assert client.get("/ready").status_code == 200


def test_an_upload_is_served_at_once_and_described(
    client: httpx.Client, folders: Path, make_mask: MakeMask
) -> None:
    mask = make_mask("Causes")
    assert _digest(client, "Causes") is None
    response = _put(client, mask, **{"Content-Type": "application/octet-stream"})
    assert response.status_code == 201, response.text
    assert response.headers["etag"] == _tag(mask)
    assert response.headers["content-type"] == "application/json"
    described = response.json()
    assert described.pop("persisted") is True
    assert described.pop("replicated") is None
    assert described["digest"] == mask.digest
    assert described["pack"] == "uploads"
    (listed,) = [m for m in client.get("/masks").json()["masks"] if m["relation"] == "Causes"]
    assert listed == described
    assert _digest(client, "Causes") == mask.digest
    assert "Causes" in [r["name"] for r in client.get("/relations").json()["relations"]]
    # The same again, and another one for it.
    assert _put(client, mask).status_code == 200
    newer = make_mask("Causes", seed=1)
    assert _put(client, newer).status_code == 200
    assert _digest(client, "Causes") == newer.digest
    assert MaskPack.open(folders / "uploads").load("Causes") == newer


def test_a_download_is_the_file(client: httpx.Client, folders: Path, make_mask: MakeMask) -> None:
    mask = make_mask("Desires")
    _put(client, mask)
    response = client.get("/masks/Desires")
    assert response.content == dump_mask(mask)
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == 'attachment; filename="Desires.safetensors"'
    assert response.headers["etag"] == _tag(mask)
    for known in (_tag(mask), f'"x", W/{_tag(mask)}', "*"):
        again = client.get("/masks/Desires", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == _tag(mask)
    assert client.get("/masks/Desires", headers={"If-None-Match": '"x"'}).status_code == 200
    # Of a pack, too, and what is uploaded again is the same.
    packed = client.get("/masks/UsedFor").content
    assert packed == (folders / "pack" / "UsedFor.safetensors").read_bytes()
    missing = client.get("/masks/Nowhere")
    assert missing.status_code == 404
    assert missing.json()["type"] == "urn:relata:problem:unknown-relation"


def test_a_deleted_relation_is_gone_until_it_is_uploaded(
    client: httpx.Client, folders: Path, make_mask: MakeMask
) -> None:
    assert client.delete("/masks/UsedFor", headers=ADMIN).status_code == 204
    assert _digest(client, "UsedFor") is None
    assert client.get("/masks/UsedFor").status_code == 404
    again = client.delete("/masks/UsedFor", headers=ADMIN)
    assert again.status_code == 404
    assert again.json()["type"] == "urn:relata:problem:unknown-relation"
    # The pack has it as ever, and is looked at; the deletion holds.
    add_to_pack(folders / "pack", make_mask("UsedFor", seed=3))
    add_to_pack(folders / "pack", make_mask("MotivatedByGoal"))
    _wait(lambda: _digest(client, "MotivatedByGoal") is not None)
    assert _digest(client, "UsedFor") is None
    assert _put(client, make_mask("UsedFor", seed=4)).status_code == 201
    assert _digest(client, "UsedFor") == make_mask("UsedFor", seed=4).digest


def test_conditions_guard_against_lost_changes(client: httpx.Client, make_mask: MakeMask) -> None:
    first, second = make_mask("HasSubevent"), make_mask("HasSubevent", seed=1)
    assert _put(client, first, **{"If-Match": "*"}).status_code == 412
    assert _put(client, first, **{"If-None-Match": "*"}).status_code == 201
    refusal = _put(client, second, **{"If-None-Match": "*"})
    assert refusal.status_code == 412
    assert refusal.json()["type"] == "urn:relata:problem:precondition-failed"
    assert _tag(first) in refusal.json()["detail"]
    assert _put(client, second, **{"If-Match": _tag(second)}).status_code == 412
    assert _put(client, second, **{"If-Match": f'W/"x", {_tag(first)}'}).status_code == 200
    stale = client.delete("/masks/HasSubevent", headers=ADMIN | {"If-Match": _tag(first)})
    assert stale.status_code == 412
    assert _digest(client, "HasSubevent") == second.digest
    fresh = client.delete("/masks/HasSubevent", headers=ADMIN | {"If-Match": _tag(second)})
    assert fresh.status_code == 204
    # A header that is sent twice is one list.
    headers = [*ADMIN.items(), ("If-None-Match", '"x"'), ("If-None-Match", _tag(first))]
    _put(client, first)
    twice = client.put("/masks/HasSubevent", content=dump_mask(first), headers=headers)
    assert twice.status_code == 412


def test_files_that_are_refused_say_why_and_change_nothing(
    client: httpx.Client, make_mask: MakeMask
) -> None:
    mask = make_mask("IsA", seed=9)
    data = dump_mask(mask)
    before = client.get("/masks").json()
    for path, content, reason in (
        ("IsA", data[:-1], "beyond|truncated"),
        ("IsA", b"", "truncated"),
        ("IsA", b"{}", "truncated"),
        ("IsA", data[:-40] + bytes([data[-40] ^ 1]) + data[-39:], "digest|checksum"),
        ("HasA", data, "the mask of relation IsA, but the path names 'HasA'"),
        ("a b", data, "the mask of relation IsA, but the path names 'a b'"),
        ("IsA", dump_mask(make_mask("IsA", base_digest="sha256:" + "f" * 64)), "for base"),
        ("IsA", dump_mask(make_mask("IsA", templates=("[X] [Z] [Y].",))), r"holds \[Z\]"),
    ):
        response = client.put(f"/masks/{path}", content=content, headers=ADMIN)
        assert response.status_code == 422, (path, reason)
        problem = response.json()
        assert problem["type"] == "urn:relata:problem:invalid-mask-file"
        assert any(part in problem["reason"] for part in reason.replace("\\", "").split("|"))
        assert problem["reason"] in problem["detail"]
    assert client.get("/masks").json() == before


def test_requests_that_are_no_upload_are_refused(client: httpx.Client, make_mask: MakeMask) -> None:
    data = dump_mask(make_mask("IsA", seed=9))
    before = client.get("/masks").json()
    for headers, content, status, kind in (
        (ADMIN | {"Content-Type": "application/json"}, data, 415, "unsupported-media-type"),
        (ADMIN, b"x" * (64 * 1024 + 1), 413, "body-too-large"),
        (ADMIN, iter([b"x" * 40_000] * 2), 413, "body-too-large"),
        ({}, data, 401, "unauthorized"),
        ({"Authorization": "Bearer wrong"}, data, 401, "unauthorized"),
    ):
        response = client.put("/masks/IsA", content=content, headers=headers)
        assert response.status_code == status, response.text
        assert response.json()["type"] == f"urn:relata:problem:{kind}"
    assert client.delete("/masks/IsA").status_code == 401
    assert client.get("/masks").json() == before
    for media_type in ("application/vnd.safetensors", "Application/Octet-Stream; x=y"):
        assert _put(client, make_mask("IsA"), **{"Content-Type": media_type}).status_code == 200


def test_the_python_client_uploads_downloads_and_deletes(
    client: httpx.Client, tmp_path: Path, make_mask: MakeMask
) -> None:
    mask = make_mask("CapableOf")
    path = tmp_path / "mask"
    path.write_bytes(dump_mask(mask))
    with relata.Client(str(client.base_url), key=KEY) as admin:
        assert admin.put_mask("CapableOf", path)["digest"] == mask.digest
        assert admin.mask("CapableOf") == path.read_bytes()
        admin.delete_mask("CapableOf")
        with pytest.raises(relata.RelataProblem) as caught:
            admin.mask("CapableOf")
        assert caught.value.status == 404


def test_changes_survive_a_restart(
    client: httpx.Client, start_hot: Callable[..., httpx.Client], folders: Path, make_mask: MakeMask
) -> None:
    _put(client, make_mask("NotDesires"))
    client.delete("/masks/PartOf", headers=ADMIN)
    # Another process on the same folder, as the next one would be.
    other = start_hot("--uploads", str(folders / "uploads"))
    assert other.get("/masks").json() == client.get("/masks").json()
    assert _digest(other, "PartOf") is None
    assert _digest(other, "NotDesires") == make_mask("NotDesires").digest
    # They share the folder, without Redis.
    _put(other, make_mask("NotDesires", seed=1))
    _wait(lambda: _digest(client, "NotDesires") == make_mask("NotDesires", seed=1).digest)


def test_without_a_folder_uploads_are_in_memory(
    start_server: StartServer, base_folder: Path, pack_folder: Path, make_mask: MakeMask
) -> None:
    client = start_server(
        "--base", str(base_folder), "--packs", str(pack_folder), "--watch-seconds", "0",
        environment={"RELATA_ADMIN_KEY": KEY, "RELATA_API_KEY": API_KEY},
    ).client  # fmt: skip
    before = sorted(path.name for path in pack_folder.iterdir())
    response = _put(client, make_mask("IsA", seed=1))
    assert response.status_code == 200, response.text
    assert (response.json()["persisted"], response.json()["replicated"]) == (False, None)
    assert sorted(path.name for path in pack_folder.iterdir()) == before
    # A key for questions reads masks, and does not change them.
    asker = {"Authorization": f"Bearer {API_KEY}"}
    assert client.get("/masks/IsA").status_code == 401
    download = client.get("/masks/IsA", headers=asker)
    assert download.content == dump_mask(make_mask("IsA", seed=1))
    assert client.delete("/masks/IsA", headers=asker).status_code == 403
    assert client.put("/masks/IsA", content=download.content, headers=asker).status_code == 403


def test_a_folder_of_uploads_that_cannot_be_used_ends_the_start(
    run_relata: Callable[..., Any], base_folder: Path, tmp_path: Path, make_mask: MakeMask
) -> None:
    write_pack(tmp_path, [make_mask("IsA", base_digest="sha256:" + "f" * 64)], name="foreign")
    result = run_relata(
        "serve", "--port", "0", "--base", str(base_folder), "--packs", "",
        "--uploads", str(tmp_path),
    )  # fmt: skip
    assert result.returncode == 2
    assert f"RELATA_UPLOADS is {tmp_path}, which holds masks for base" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_pack_that_changes_is_served_as_it_changes(
    client: httpx.Client, folders: Path, make_mask: MakeMask
) -> None:
    pack = folders / "pack"
    for seed in (1, 2):
        mask = make_mask("HasProperty", seed=seed)
        add_to_pack(pack, mask)
        _wait(lambda mask=mask: _digest(client, "HasProperty") == mask.digest)  # type: ignore[misc]
    path = pack / "HasProperty.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    _wait(lambda: client.get("/masks").json()["refused"] != [])
    (refused,) = client.get("/masks").json()["refused"]
    assert (refused["relation"], refused["pack"]) == ("HasProperty", "tiny")
    assert _digest(client, "HasProperty") == make_mask("HasProperty", seed=2).digest
    add_to_pack(pack, make_mask("HasProperty", seed=3))
    _wait(lambda: _digest(client, "HasProperty") == make_mask("HasProperty", seed=3).digest)
    assert client.get("/masks").json()["refused"] == []
    remove_from_pack(pack, "HasProperty")
    _wait(lambda: _digest(client, "HasProperty") is None)


def _wait(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# Under load.


def _paths() -> list[dict[str, Any]]:
    """Questions whose answers take two turns at the model."""
    fields = {"relations": ["IsA", "IsA"], "beam": 4, "top_k": 4}
    return [{"subject": subject, **fields} for subject in SUBJECTS[:4]]


def _questions() -> list[dict[str, Any]]:
    single = [{"subject": subject, "relation": "IsA", "top_k": 20} for subject in SUBJECTS]
    union = [
        {"subject": subject, "relation": ["IsA", "HasA"], "combine": how, "top_k": 20}
        for subject in SUBJECTS[:4]
        for how in ("union", "intersection", "difference")
    ]
    return single + union


@pytest.fixture(scope="module")
def expected(
    tmp_path_factory: pytest.TempPathFactory,
    base_folder: Path,
    make_mask: MakeMask,
    relation_masks: Mapping[str, RelationMask],
) -> dict[tuple[str, str], dict[str, float]]:
    """Log-probabilities of objects by question and digest, of each mask's model alone."""
    answers = {}
    for seed in (1, 2):
        pack = tmp_path_factory.mktemp("alone")
        write_pack(pack, [make_mask("IsA", seed=seed), relation_masks["HasA"]], name="alone")
        service = Service.load(Settings(base=str(base_folder), packs=(pack,), cache="off"))
        for feature, questions in (
            (service.features.completion, _questions()),
            (service.features.paths, _paths()),
        ):
            for question in questions:
                answer = service.ask_now(feature, question).model_dump()
                answers[str(question), _named(answer)] = _scores(answer)
        service.close()
    # Two masks for each question, which answer it otherwise.
    asked = len(_questions()) + len(_paths())
    assert len({str(scores) for scores in answers.values()}) == 2 * asked
    return answers


def _named(answer: Mapping[str, Any]) -> str:
    """The one digest that an answer names."""
    models = answer.get("hops", [answer])
    (digest,) = {model["mask"]["digest"] for model in models}
    named: str = digest
    return named


def _scores(answer: Mapping[str, Any]) -> dict[str, float]:
    if "paths" in answer:
        return {str([hop["object"] for hop in p["hops"]]): p["log_prob"] for p in answer["paths"]}
    return {item["object"]: item["log_prob"] for item in answer["completions"]}


@pytest.mark.parametrize("cache", ["off", "auto"])
def test_no_answer_is_mixed_while_masks_are_replaced(
    start_hot: Callable[..., httpx.Client],
    make_mask: MakeMask,
    expected: Mapping[tuple[str, str], Mapping[str, float]],
    cache: str,
) -> None:
    client = start_hot("--cache", cache, "--token-budget", "64")
    _put(client, make_mask("IsA", seed=1))
    done = threading.Event()
    digests: set[str] = set()

    def check(question: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
        digest = _named(answer)
        alone = expected[str(question), digest]
        found = _scores(answer)
        assert found.keys() == alone.keys()
        assert max(abs(found[name] - alone[name]) for name in alone) <= 1e-4
        return digest

    def ask_each() -> int:
        count = 0
        while not done.is_set():
            question = _questions()[count % len(_questions())]
            response = client.post("/complete", json=question)
            assert response.status_code == 200, response.text
            digests.add(check(question, response.json()))
            count += 1
        return count

    def ask_paths() -> int:
        count = 0
        while not done.is_set():
            question = _paths()[count % len(_paths())]
            response = client.post("/paths", json=question)
            check(question, response.raise_for_status().json())
            count += 1
        return count

    def ask_many() -> int:
        count = 0
        while not done.is_set():
            response = client.post("/complete", json={"queries": _questions()})
            results = response.raise_for_status().json()["results"]
            found = [check(*pair) for pair in zip(_questions(), results, strict=True)]
            # All of one request were asked of the same masks.
            assert len(set(found[: len(SUBJECTS)])) == 1
            count += 1
        return count

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask) for ask in (*[ask_each] * 4, ask_paths, ask_many)]
        try:
            for turn in range(20):
                response = _put(client, make_mask("IsA", seed=turn % 2 + 1))
                assert response.status_code == 200
                time.sleep(0.02)
        finally:
            done.set()
        assert all(asked.result() > 0 for asked in asking)
    # Each of four ways to combine, of each of two masks.
    assert len(digests) == 8
