import json
import pickle
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from masks import (
    MaskFileError,
    MaskMismatchError,
    MaskPack,
    MaskValueError,
    RelationMask,
    UnknownRelationError,
    add_to_pack,
    dump_mask,
    remove_from_pack,
    save_mask,
    write_pack,
)

MakeMask = Callable[..., RelationMask]
RandomKeep = Callable[..., dict]
OTHER_BASE = "sha256:" + "00" * 32


@pytest.fixture(scope="session")
def masks(make_mask: MakeMask, random_keep: RandomKeep) -> dict[str, RelationMask]:
    names = ["IsA", "HasA", "PartOf"]
    return {name: make_mask(name, random_keep(i)) for i, name in enumerate(names)}


@pytest.fixture
def pack(masks: dict[str, RelationMask], tmp_path: Path) -> MaskPack:
    return write_pack(tmp_path / "pack", masks.values(), name="tiny", extra={"licence": "CC0"})


def edit(pack: MaskPack, change: Callable[[dict], object]) -> Path:
    path = pack.folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return pack.folder


def test_a_pack_gives_back_its_masks(pack: MaskPack, masks: dict[str, RelationMask]) -> None:
    opened = MaskPack.open(str(pack.folder))
    assert opened == pack
    assert opened.name == "tiny"
    assert opened.base_model == "relata/tiny"
    assert opened.base_digest == masks["IsA"].base_digest
    assert opened.manifest.extra == {"licence": "CC0"}
    assert opened.relations == ("HasA", "IsA", "PartOf")
    assert opened.load("IsA") == masks["IsA"]
    assert opened.load_all() == masks
    assert list(opened.load_all()) == ["HasA", "IsA", "PartOf"]
    assert opened.verify() == []
    assert sorted(path.name for path in pack.folder.iterdir()) == [
        "HasA.safetensors",
        "IsA.safetensors",
        "PartOf.safetensors",
        "manifest.json",
    ]


def test_the_manifest_describes_each_file(pack: MaskPack, masks: dict[str, RelationMask]) -> None:
    content = json.loads((pack.folder / "manifest.json").read_text())
    entry = content["masks"]["IsA"]
    assert content["format_version"] == "1"
    assert entry["sha256"] == sha256((pack.folder / entry["file"]).read_bytes()).hexdigest()
    assert entry["digest"] == masks["IsA"].digest
    assert entry["sparsity"] == masks["IsA"].sparsity
    assert entry["facts"] == {"train": 70, "validation": 20, "test": 10}


@pytest.mark.parametrize(
    ("asked", "nearest"), [("isa", "IsA"), ("PartsOf", "PartOf"), ("Zzz", None), ("../IsA", "IsA")]
)
def test_an_unknown_relation_is_an_error(pack: MaskPack, asked: str, nearest: str | None) -> None:
    with pytest.raises(UnknownRelationError) as caught:
        pack.load(asked)
    error = caught.value
    assert isinstance(error, KeyError)
    assert (error.relation, error.nearest) == (asked, nearest)
    assert error.known == ("HasA", "IsA", "PartOf")
    assert str(error).startswith(f"unknown relation {asked!r}")
    assert "known: HasA, IsA, PartOf" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_masks_are_added_replaced_and_removed(
    pack: MaskPack, make_mask: MakeMask, random_keep: RandomKeep
) -> None:
    causes, new = make_mask("Causes"), make_mask("IsA", random_keep(9))
    assert add_to_pack(pack.folder, causes).relations == ("Causes", "HasA", "IsA", "PartOf")
    add_to_pack(pack.folder, new)
    opened = MaskPack.open(pack.folder)
    assert opened.load("Causes") == causes
    assert opened.load("IsA") == new
    assert opened.name == "tiny"
    assert opened.manifest.extra == {"licence": "CC0"}
    # A pack opened before the change refuses the file it does not know.
    with pytest.raises(MaskFileError, match="sha256"):
        pack.load("IsA")
    assert remove_from_pack(pack.folder, "IsA").relations == ("Causes", "HasA", "PartOf")
    assert not (pack.folder / "IsA.safetensors").exists()
    assert MaskPack.open(pack.folder).verify() == []
    with pytest.raises(UnknownRelationError):
        remove_from_pack(pack.folder, "IsA")


def test_the_last_mask_can_be_removed(make_mask: MakeMask, tmp_path: Path) -> None:
    write_pack(tmp_path, [make_mask()], name="one")
    remove_from_pack(tmp_path, "IsA")
    assert MaskPack.open(tmp_path).load_all() == {}
    add_to_pack(tmp_path, make_mask())
    assert MaskPack.open(tmp_path).relations == ("IsA",)


def test_writing_over_a_pack_removes_what_it_held(pack: MaskPack, make_mask: MakeMask) -> None:
    (pack.folder / "README.md").write_text("mine")
    write_pack(pack.folder, [make_mask("Causes")], name="new")
    assert MaskPack.open(pack.folder).relations == ("Causes",)
    assert MaskPack.open(pack.folder).verify() == []
    assert (pack.folder / "README.md").read_text() == "mine"


def test_a_local_name_of_the_same_base_is_no_mismatch(pack: MaskPack, make_mask: MakeMask) -> None:
    add_to_pack(pack.folder, make_mask("Causes", base_model="./tiny"))
    assert MaskPack.open(pack.folder).verify() == []


def test_what_cannot_be_a_pack_is_refused_before_anything_is_written(
    make_mask: MakeMask, tmp_path: Path
) -> None:
    mask, foreign = make_mask("IsA"), make_mask("HasA", base_digest=OTHER_BASE)
    folder = tmp_path / "pack"
    with pytest.raises(MaskValueError, match="at least one"):
        write_pack(folder, [], name="x")
    with pytest.raises(MaskValueError, match="IsA comes twice"):
        write_pack(folder, [mask, mask], name="x")
    with pytest.raises(MaskValueError, match="differ only in case"):
        write_pack(folder, [mask, make_mask("isa")], name="x")
    with pytest.raises(MaskMismatchError, match="mask HasA belongs to base"):
        write_pack(folder, [mask, foreign], name="x")
    with pytest.raises(MaskValueError, match="name of a pack"):
        write_pack(folder, [mask], name="")
    with pytest.raises(MaskValueError, match="extra"):
        write_pack(folder, [mask], name="x", extra={"a": object()})
    assert list(tmp_path.rglob("*.*")) == []
    write_pack(folder, [mask], name="x")
    with pytest.raises(MaskMismatchError, match="HasA"):
        add_to_pack(folder, foreign)
    with pytest.raises(MaskValueError, match="only in case"):
        add_to_pack(folder, make_mask("ISA"))
    assert MaskPack.open(folder).verify() == []


def test_folders_that_are_no_pack(make_mask: MakeMask, tmp_path: Path) -> None:
    with pytest.raises(MaskFileError, match="no such folder"):
        MaskPack.open(tmp_path / "gone")
    with pytest.raises(MaskFileError, match="no mask pack"):
        MaskPack.open(tmp_path)
    with pytest.raises(MaskFileError, match="no mask pack"):
        add_to_pack(tmp_path, make_mask())
    save_mask(make_mask(), tmp_path / "IsA.safetensors")
    with pytest.raises(MaskFileError, match=r"1 mask files? but no manifest\.json"):
        MaskPack.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c.update(format_version="2"), "'2', but this reader knows only '1'"),
        (lambda c: c.pop("format_version"), "format_version"),
        (lambda c: c.pop("base_digest"), "lacks 'base_digest'"),
        (lambda c: c.update(colour="red"), "unknown 'colour'"),
        (lambda c: c.update(name=3), "name"),
        (lambda c: c.update(base_digest="x"), "base_digest"),
        (lambda c: c.update(masks=[]), "masks must map"),
        (lambda c: c.update(extra=[]), "extra must map"),
        (lambda c: c["masks"].update(IsA=3), "entry of IsA"),
        (lambda c: c["masks"]["IsA"].pop("facts"), "entry of IsA lacks 'facts'"),
        (lambda c: c["masks"]["IsA"].update(more=1), "unknown 'more'"),
        (lambda c: c["masks"]["IsA"].update(file="../IsA.safetensors"), "file of IsA must be"),
        (lambda c: c["masks"]["IsA"].update(sha256="12"), "sha256 of IsA"),
        (lambda c: c["masks"]["IsA"].update(digest=None), "digest of IsA"),
        (lambda c: c["masks"]["IsA"].update(sparsity=2), "sparsity of IsA"),
        (lambda c: c["masks"]["IsA"].update(facts={"train": "many"}), "facts of IsA"),
        (lambda c: c["masks"].update({"../up": c["masks"]["IsA"]}), "not a name"),
    ],
)
def test_bad_manifests(pack: MaskPack, change: Callable[[dict], object], match: str) -> None:
    with pytest.raises(MaskFileError, match=match) as caught:
        MaskPack.open(edit(pack, change))
    assert str(pack.folder / "manifest.json") in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": NaN}', '{"a":1,"a":1}'])
def test_manifests_that_are_no_json_object(pack: MaskPack, text: str) -> None:
    (pack.folder / "manifest.json").write_text(text)
    with pytest.raises(MaskFileError, match="JSON"):
        MaskPack.open(pack.folder)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c["masks"]["IsA"].update(sha256="0" * 64), "sha256 is"),
        (lambda c: c["masks"]["IsA"].update(digest="sha256:" + "0" * 64), "digest is"),
        (lambda c: c["masks"]["IsA"].update(sparsity=0.125), "sparsity is"),
        (lambda c: c["masks"]["IsA"].update(facts={"train": 71}), "facts is"),
        (lambda c: c.update(base_digest=OTHER_BASE), "base_digest is"),
    ],
)
def test_a_file_that_is_not_the_manifests_is_refused(
    pack: MaskPack, change: Callable[[dict], object], match: str
) -> None:
    opened = MaskPack.open(edit(pack, change))
    with pytest.raises(MaskFileError, match=match):
        opened.load("IsA")
    assert any(match in problem for problem in opened.verify())


def test_a_file_under_another_relations_name_is_refused(pack: MaskPack) -> None:
    data = (pack.folder / "HasA.safetensors").read_bytes()
    (pack.folder / "IsA.safetensors").write_bytes(data)
    entry = {"sha256": sha256(data).hexdigest()}
    opened = MaskPack.open(edit(pack, lambda c: c["masks"]["IsA"].update(entry)))
    with pytest.raises(MaskFileError, match="relation is 'HasA'"):
        opened.load("IsA")


def test_verify_names_every_problem(pack: MaskPack, make_mask: MakeMask) -> None:
    (pack.folder / "IsA.safetensors").unlink()
    (pack.folder / "HasA.safetensors").write_bytes(dump_mask(make_mask("HasA"))[:-1])
    save_mask(make_mask("Causes"), pack.folder / "Causes.safetensors")
    problems = pack.verify()
    assert len(problems) == 3
    assert "HasA.safetensors: its sha256 is" in problems[0]
    assert "IsA.safetensors: there is no such file" in problems[1]
    assert "Causes.safetensors: the manifest does not list it" in problems[2]
