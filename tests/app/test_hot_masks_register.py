"""What is served after changes, without HTTP: the order of changes, the folder of uploads."""

import json
import os
import threading
from collections.abc import Callable, Mapping
from itertools import permutations
from pathlib import Path

import pytest

import app.changes.uploads
from app.changes import MaskRegister
from app.changes.change import Change
from app.changes.stamps import Clock, Stamp
from app.conditions import Conditions
from app.errors import MaskNotKeptError, MaskRefusedError, PreconditionError, StartupError
from masks import (
    MANIFEST_NAME,
    MaskPack,
    RelationMask,
    UnknownRelationError,
    add_to_pack,
    dump_mask,
    lock_pack,
    remove_from_pack,
    write_pack,
)
from plm import BaseModel

MakeMask = Callable[..., RelationMask]
NONE = Conditions()


@pytest.fixture
def pack(tmp_path: Path, relation_masks: Mapping[str, RelationMask]) -> Path:
    folder = tmp_path / "pack"
    write_pack(folder, [relation_masks[name] for name in ("IsA", "HasA")], name="tiny")
    return folder


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


def _digests(register: MaskRegister) -> dict[str, str]:
    return {name: served.mask.digest for name, served in register.catalogue.served.items()}


def _put(register: MaskRegister, mask: RelationMask, conditions: Conditions = NONE) -> Change:
    return register.put(mask.relation, dump_mask(mask), conditions).change


def test_a_change_lies_over_the_packs_and_takes_a_new_catalogue(
    base: BaseModel, pack: Path, make_mask: MakeMask
) -> None:
    register = MaskRegister.load(base, [pack])
    before = register.catalogue
    new = make_mask("IsA", seed=5)
    accepted = register.put("IsA", dump_mask(new), NONE)
    assert (accepted.created, accepted.persisted) == (False, False)
    assert register.catalogue.find("IsA").mask == new
    # Whoever took the catalogue before sees what it saw.
    assert before.find("IsA").mask != new
    assert register.put("Causes", dump_mask(make_mask("Causes")), NONE).created
    register.delete("HasA", NONE)
    assert register.catalogue.relations == ("Causes", "IsA")
    assert before.relations == ("HasA", "IsA")
    # Whatever the packs say from then on.
    add_to_pack(pack, make_mask("IsA", seed=6))
    add_to_pack(pack, make_mask("HasA", seed=6))
    add_to_pack(pack, make_mask("PartOf"))
    assert register.poll()
    assert register.catalogue.relations == ("Causes", "IsA", "PartOf")
    assert register.catalogue.find("IsA").mask == new
    with pytest.raises(UnknownRelationError):
        register.delete("HasA", NONE)


def test_what_no_request_holds_any_more_is_freed(base: BaseModel, make_mask: MakeMask) -> None:
    import gc
    import weakref

    register = MaskRegister.load(base, [])
    _put(register, make_mask("IsA"))
    held = register.catalogue
    old = weakref.ref(held.find("IsA").mask)
    _put(register, make_mask("IsA", seed=1))
    gc.collect()
    assert old() is not None
    del held
    gc.collect()
    assert old() is None


def test_the_same_file_again_changes_nothing(base: BaseModel, make_mask: MakeMask) -> None:
    register = MaskRegister.load(base, [])
    first = _put(register, make_mask("IsA"))
    catalogue = register.catalogue
    assert _put(register, make_mask("IsA")) is first
    assert register.catalogue is catalogue
    # The same bits under another template are another file.
    assert _put(register, make_mask("IsA", templates=("[X] are [Y].",))).stamp > first.stamp


def test_changes_in_any_order_and_number_lead_to_the_same_masks(
    base: BaseModel, pack: Path, make_mask: MakeMask
) -> None:
    source = MaskRegister.load(base, [pack])
    changes = [
        _put(source, make_mask("IsA", seed=1)),
        _put(source, make_mask("IsA", seed=2)),
        source.delete("HasA", NONE),
        _put(source, make_mask("HasA", seed=3)),
    ]
    for order in permutations(changes):
        replica = MaskRegister.load(base, [pack])
        for change in (*order, *order[:2]):
            replica.take([change])
        assert _digests(replica) == _digests(source)


def test_two_spellings_are_one_relation_and_the_later_holds(
    base: BaseModel, make_mask: MakeMask
) -> None:
    here, there = MaskRegister.load(base, []), MaskRegister.load(base, [])
    first = _put(here, make_mask("IsA"))
    other = make_mask("HasA")
    renamed = RelationMask.from_keep(
        {name: other.keep(name) for name in other.shapes},
        relation="ISA",
        **{
            name: getattr(other.metadata, name)
            for name in (
                "base_model", "base_digest", "architecture", "layers", "method", "threshold",
                "templates", "data_name", "data_digest", "seed", "validation", "tool_version",
            )
        },
    )  # fmt: skip
    with pytest.raises(MaskRefusedError, match="IsA is served, and ISA differs from it only in"):
        _put(here, renamed)
    second = _put(there, renamed)
    for register, change in ((here, second), (there, first)):
        register.take([change])
        assert register.catalogue.relations == ("ISA",)


def test_a_change_made_here_is_later_than_all_that_was_seen(
    base: BaseModel, make_mask: MakeMask
) -> None:
    register = MaskRegister.load(base, [])
    # The clock of another replica may be days ahead.
    ahead = Stamp(Clock().next() + 10 * 86_400 * 1_000_000, "")
    register.take([Change("isa", ahead, None)])
    assert _put(register, make_mask("IsA")).stamp > ahead
    assert register.catalogue.relations == ("IsA",)


def test_the_order_of_stamps_is_that_of_their_texts() -> None:
    stamps = [
        Stamp(9, ""),
        Stamp(9, "0" * 64),
        Stamp(9, "f" * 64),
        Stamp(10, ""),
        Stamp(10**15, ""),
    ]
    assert sorted(stamps) == stamps
    assert sorted(stamps, key=lambda stamp: stamp.text) == stamps
    assert [Stamp.parse(stamp.text) for stamp in stamps] == stamps
    clock = Clock()
    clock.see(Stamp(9 * 10**15, ""))
    assert [clock.next(), clock.next()] == [9 * 10**15 + 1, 9 * 10**15 + 2]


@pytest.mark.parametrize(
    "text",
    ["", "1:", "x" * 16 + ":", "1790000000000000", "1790000000000000:ab", "9" * 16 + ":"],
)
def test_what_is_no_stamp_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no stamp"):
        Stamp.parse(text)


def _relation_mismatch(mask: RelationMask) -> tuple[str, bytes]:
    return "HasA", dump_mask(mask)


def _cut(mask: RelationMask) -> tuple[str, bytes]:
    return "IsA", dump_mask(mask)[:-1]


def _empty(mask: RelationMask) -> tuple[str, bytes]:
    return "IsA", b""


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_relation_mismatch, "the mask of relation IsA, but the path names 'HasA'"),
        (_cut, "beyond the end|truncated"),
        (_empty, "too short|truncated|bytes"),
    ],
)
def test_a_file_that_is_refused_changes_nothing(
    base: BaseModel,
    uploads: Path,
    make_mask: MakeMask,
    spoil: Callable[[RelationMask], tuple[str, bytes]],
    reason: str,
) -> None:
    register = MaskRegister.load(base, [], uploads)
    _put(register, make_mask("IsA"))
    before, kept = register.catalogue, (uploads / MANIFEST_NAME).read_bytes()
    relation, data = spoil(make_mask("IsA", seed=1))
    with pytest.raises(MaskRefusedError, match=reason):
        register.put(relation, data, NONE)
    assert register.catalogue is before
    assert (uploads / MANIFEST_NAME).read_bytes() == kept


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"base_digest": "sha256:" + "f" * 64}, "was made for base"),
        ({"templates": ("[X] is [MASK] a [Y].",)}, "special token"),
        ({"templates": ("A [X] is a [Y].", "[X] and [X] are [Y].")}, "2 times"),
        ({"templates": ("[X] [Z] [Y].",)}, r"holds \[Z\]"),
        ({"templates": ("a " * 60 + "[X] [Y].",)}, "reads at most 48"),
    ],
)
def test_a_mask_that_does_not_belong_here_is_refused(
    base: BaseModel, make_mask: MakeMask, fields: dict[str, object], reason: str
) -> None:
    register = MaskRegister.load(base, [])
    with pytest.raises(MaskRefusedError, match=reason):
        _put(register, make_mask("IsA", **fields))
    assert register.catalogue.relations == ()


def test_conditions_hold_or_nothing_changes(base: BaseModel, make_mask: MakeMask) -> None:
    register = MaskRegister.load(base, [])
    with pytest.raises(PreconditionError, match="If-Match does not hold: the relation is not"):
        _put(register, make_mask("IsA"), Conditions(if_match="*"))
    first = _put(register, make_mask("IsA"), Conditions(if_none_match="*"))
    tag = f'"{first.stamp.sha256}"'
    with pytest.raises(PreconditionError, match="If-None-Match does not hold: the file served"):
        _put(register, make_mask("IsA", seed=1), Conditions(if_none_match="*"))
    with pytest.raises(PreconditionError, match=first.stamp.sha256):
        _put(register, make_mask("IsA", seed=1), Conditions(if_match='"abc"'))
    with pytest.raises(PreconditionError):
        # A weak tag says nothing about bytes.
        _put(register, make_mask("IsA", seed=1), Conditions(if_match=f"W/{tag}"))
    with pytest.raises(PreconditionError):
        register.delete("IsA", Conditions(if_match='"abc"'))
    assert register.catalogue.find("IsA").sha256 == first.stamp.sha256
    _put(register, make_mask("IsA", seed=1), Conditions(if_match=f'"abc", {tag}'))
    assert register.catalogue.find("IsA").sha256 != first.stamp.sha256


def test_of_many_who_change_the_same_file_one_does(base: BaseModel, make_mask: MakeMask) -> None:
    register = MaskRegister.load(base, [])
    tag = f'"{_put(register, make_mask("IsA")).stamp.sha256}"'
    outcomes: list[str] = []

    def change(seed: int) -> None:
        try:
            _put(register, make_mask("IsA", seed=seed), Conditions(if_match=tag))
        except PreconditionError:
            outcomes.append("refused")
        else:
            outcomes.append("made")

    threads = [threading.Thread(target=change, args=(seed,)) for seed in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == ["made"] + ["refused"] * 7


# The folder of uploads.


def test_uploads_survive_a_restart_and_the_packs_are_never_written(
    base: BaseModel, pack: Path, uploads: Path, make_mask: MakeMask
) -> None:
    untouched = {path.name: path.read_bytes() for path in pack.iterdir()}
    register = MaskRegister.load(base, [pack], uploads)
    new = make_mask("IsA", seed=5)
    data = dump_mask(new)
    assert register.put("IsA", data, NONE).persisted
    _put(register, make_mask("Causes"))
    register.delete("HasA", NONE)
    register.delete("Causes", NONE)
    again = MaskRegister.load(base, [pack], uploads)
    assert again.catalogue.relations == ("IsA",)
    assert again.catalogue.find("IsA").data == data
    assert {key: change.stamp for key, change in again.changes().items()} == {
        key: change.stamp for key, change in register.changes().items()
    }
    # It is a pack like any other.
    assert MaskPack.open(uploads).verify() == []
    assert MaskPack.open(uploads).load_all() == {"IsA": new}
    assert sorted(path.name for path in uploads.iterdir()) == ["IsA.safetensors", MANIFEST_NAME]
    assert {path.name: path.read_bytes() for path in pack.iterdir()} == untouched
    # And the relation comes back by being uploaded.
    _put(again, make_mask("HasA", seed=1))
    assert MaskRegister.load(base, [pack], uploads).catalogue.relations == ("HasA", "IsA")


def test_replicas_that_share_the_folder_lose_nothing(
    base: BaseModel, uploads: Path, make_mask: MakeMask
) -> None:
    replicas = [MaskRegister.load(base, [], uploads) for _ in range(3)]
    relations = ["IsA", "HasA", "PartOf", "Causes", "Desires", "UsedFor"]
    threads = [
        threading.Thread(target=_put, args=(replicas[number % 3], make_mask(relation)))
        for number, relation in enumerate(relations)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    replicas[0].delete("IsA", NONE)
    for replica in replicas:
        replica.poll()
        assert replica.catalogue.relations == tuple(sorted(relations[1:]))
        assert not replica.poll()
    # What another replica did is known before a condition is checked, polled or not.
    tag = f'"{_put(replicas[1], make_mask("HasA", seed=1)).stamp.sha256}"'
    with pytest.raises(PreconditionError):
        _put(replicas[2], make_mask("HasA", seed=2), Conditions(if_none_match=tag))


def test_the_folder_may_be_changed_by_hand_as_any_pack(
    base: BaseModel, pack: Path, uploads: Path, make_mask: MakeMask
) -> None:
    register = MaskRegister.load(base, [pack], uploads)
    put = [_put(register, make_mask(name)) for name in ("IsA", "Causes")]
    by_hand = [make_mask("IsA", seed=7), make_mask("PartOf")]
    for mask in by_hand:
        add_to_pack(uploads, mask)
    remove_from_pack(uploads, "Causes")
    assert register.poll()
    assert register.catalogue.relations == ("HasA", "IsA", "PartOf")
    assert register.catalogue.find("IsA").mask == by_hand[0]
    stamps = {key: change.stamp for key, change in register.changes().items()}
    assert stamps["isa"] > put[0].stamp
    assert stamps["causes"] > put[1].stamp
    # The stamps are given once.
    assert not register.poll()
    other = MaskRegister.load(base, [pack], uploads)
    assert {key: change.stamp for key, change in other.changes().items()} == stamps


def test_a_damaged_upload_replaces_nothing_and_hides_its_relation_at_the_start(
    base: BaseModel, pack: Path, uploads: Path, make_mask: MakeMask
) -> None:
    register = MaskRegister.load(base, [pack], uploads)
    put = _put(register, make_mask("IsA", seed=5))
    path = uploads / "IsA.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    register.poll()
    # It is in service still, and so the file was written again.
    assert register.catalogue.find("IsA").sha256 == put.stamp.sha256
    assert path.read_bytes() == whole
    assert register.catalogue.refused == ()
    path.write_bytes(whole[:-1])
    again = MaskRegister.load(base, [pack], uploads)
    assert again.catalogue.relations == ("HasA",)
    assert [(file.relation, file.pack) for file in again.catalogue.refused] == [("IsA", "uploads")]
    # Another replica has it.
    assert put.served is not None
    assert again.take([again.examine("isa", put.stamp, put.served.data)])
    assert again.catalogue.find("IsA").sha256 == put.stamp.sha256
    assert path.read_bytes() == whole


def test_a_folder_that_is_emptied_under_way_is_filled_again(
    base: BaseModel, uploads: Path, make_mask: MakeMask
) -> None:
    register = MaskRegister.load(base, [], uploads)
    mask = make_mask("IsA")
    _put(register, mask)
    for path in uploads.iterdir():
        path.unlink()
    register.poll()
    assert register.catalogue.relations == ("IsA",)
    assert MaskPack.open(uploads).load_all() == {"IsA": mask}


def test_what_cannot_be_kept_is_not_changed(
    base: BaseModel, uploads: Path, make_mask: MakeMask
) -> None:
    register = MaskRegister.load(base, [], uploads)
    _put(register, make_mask("IsA"))
    kept = (uploads / MANIFEST_NAME).read_bytes()
    (uploads / MANIFEST_NAME).write_text("{")
    for change in (
        lambda: _put(register, make_mask("IsA", seed=1)),
        lambda: register.delete("IsA", NONE),
    ):
        with pytest.raises(
            MaskNotKeptError, match=r"RELATA_UPLOADS: its manifest is refused: .*JSON"
        ):
            change()
    assert register.catalogue.find("IsA").mask == make_mask("IsA")
    assert [file.file for file in register.catalogue.refused] == [MANIFEST_NAME]
    (uploads / MANIFEST_NAME).write_bytes(kept)
    _put(register, make_mask("IsA", seed=1))
    assert register.catalogue.refused == ()


def test_changes_of_replicas_hold_even_if_they_cannot_be_kept(
    base: BaseModel, uploads: Path, make_mask: MakeMask, caplog: pytest.LogCaptureFixture
) -> None:
    source = MaskRegister.load(base, [])
    register = MaskRegister.load(base, [], uploads)
    _put(register, make_mask("HasA"))
    kept = (uploads / MANIFEST_NAME).read_bytes()
    (uploads / MANIFEST_NAME).write_text("{")
    register.poll()
    register.take([_put(source, make_mask("IsA"))])
    register.take([_put(source, make_mask("PartOf"))])
    assert register.catalogue.relations == ("HasA", "IsA", "PartOf")
    assert caplog.text.count("masks are changed in memory only") == 1
    (uploads / MANIFEST_NAME).write_bytes(kept)
    register.poll()
    assert MaskPack.open(uploads).relations == ("HasA", "IsA", "PartOf")


def test_a_folder_that_cannot_be_used_ends_the_start(
    base: BaseModel, tmp_path: Path, make_mask: MakeMask
) -> None:
    foreign = tmp_path / "foreign"
    write_pack(foreign, [make_mask("IsA", base_digest="sha256:" + "f" * 64)], name="foreign")
    stray = tmp_path / "stray"
    stray.mkdir()
    (stray / "IsA.safetensors").write_bytes(b"")
    file = tmp_path / "file"
    file.touch()
    for folder, reason in (
        (foreign, "holds masks for base"),
        (stray, f"but no {MANIFEST_NAME}"),
        (file, "nothing can be kept"),
        (file / "below", "nothing can be kept"),
    ):
        with pytest.raises(StartupError, match=f"RELATA_UPLOADS is {folder}.*{reason}"):
            MaskRegister.load(base, [], folder)


def test_a_start_does_not_go_on_without_the_uploads(
    base: BaseModel, uploads: Path, make_mask: MakeMask, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(MaskRegister.load(base, [], uploads), make_mask("IsA"))
    monkeypatch.setattr(app.changes.uploads, "_LOCK_SECONDS", 0.1)
    with lock_pack(uploads), pytest.raises(MaskNotKeptError, match="being written by another"):
        MaskRegister.load(base, [], uploads)


def test_the_folder_of_uploads_is_none_of_the_packs(base: BaseModel, pack: Path) -> None:
    for uploads in (pack, pack / ".." / pack.name):
        with pytest.raises(StartupError, match="which is in RELATA_PACKS; packs are not written"):
            MaskRegister.load(base, [pack], uploads)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_ends_the_start(base: BaseModel, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StartupError, match="not writable"):
        MaskRegister.load(base, [], tmp_path)


def test_stamps_that_are_unreadable_count_as_none(
    base: BaseModel, uploads: Path, make_mask: MakeMask
) -> None:
    _put(MaskRegister.load(base, [], uploads), make_mask("IsA"))
    path = uploads / MANIFEST_NAME
    for extra in ({"changes": {"isa": 3, "hasa": "x"}}, {"changes": []}, {}):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "extra": extra}))
        register = MaskRegister.load(base, [], uploads)
        assert register.catalogue.relations == ("IsA",)
        assert Stamp.parse(json.loads(path.read_text())["extra"]["changes"]["isa"])
