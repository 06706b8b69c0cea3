"""Files of facts: every line counts or is told, and facts are found from either end."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import StartupError, UnknownKnowledgeError
from app.knowledge import (
    BadLine,
    FactFile,
    Knowledge,
    KnowledgeBase,
    RelationFacts,
    read_facts,
)
from plm import fold_text

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to_file


def _read(path: Path) -> list[tuple[str, ...] | BadLine]:
    items = read_facts(FactFile.open(path))
    return [item if isinstance(item, BadLine) else tuple(item) for item in items]


FACTS: list[tuple[str, ...]] = [("dog", "IsA", "animal"), ("ice cream", "AtLocation", "a, b")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "dog\tIsA\tanimal\nice cream\tAtLocation\ta, b\n"),
        ("a.txt", "# a comment\r\ndog\tIsA\tanimal\r\n\r\n ice  cream\tAtLocation\ta, b"),
        ("a.tsv", "relation\tobject\tsubject\nIsA\tanimal\tdog\nAtLocation\ta, b\tice cream\n"),
        ("a.tsv", "Subject\tweight\tRelation\tObject\ndog\t1\tIsA\tanimal\n"
         "ice cream\t2\tAtLocation\ta, b\n"),
        ("a.csv", '\ufeffdog,IsA,animal\nice cream, AtLocation, "a, b"\n'),
        ("A.CSV", '\nsubject,relation,object\n"dog",IsA,animal\nice cream,AtLocation,"a, b"'),
        ("a.jsonl", '{"subject": "dog", "relation": "IsA", "object": "animal", "weight": 2}\n\n'
         '{"object": "a, b", "subject": "ice\\tcream", "relation": "AtLocation"}\n'),
    ],
)  # fmt: skip
def test_every_format_gives_the_facts(write: Write, name: str, content: str) -> None:
    assert _read(write(name, content)) == FACTS


@pytest.mark.parametrize(
    ("name", "line", "reason"),
    [
        ("a.tsv", "dog\tIsA", "2 columns where 3 belong"),
        ("a.tsv", "dog\tIsA\tanimal\tpet", "4 columns where 3 belong"),
        ("a.tsv", "dog\t \tanimal", "the relation is blank"),
        ("a.tsv", "\tIsA\tanimal", "the subject is blank"),
        ("a.tsv", "dog\tIsA\t", "the object is blank"),
        ("a.tsv", b"dog\tIsA\tanim\xe9", "the object holds the lone surrogate"),
        ("a.tsv", "d\x07g\tIsA\tanimal", "the subject holds the control character U+0007"),
        ("a.csv", '"dog,IsA,animal', "no CSV on its own"),
        ("a.csv", "dog;IsA;animal", "1 column where 3 belong"),
        ("a.jsonl", '{"subject": "dog"', "no JSON"),
        ("a.jsonl", "[" * 100_000, "no JSON"),
        ("a.jsonl", '["dog", "IsA", "animal"]', "no JSON object"),
        ("a.jsonl", '{"subject": "dog", "relation": "IsA"}', "'object' is missing"),
        ("a.jsonl", '{"subject": 1, "relation": "IsA", "object": "a"}', "subject is no string"),
        ("a.jsonl", '{"subject": "\\ud800", "relation": "IsA", "object": "a"}', "surrogate U+D800"),
    ],
)
def test_a_bad_line_is_told_with_its_number_and_costs_no_other(
    write: Write, name: str, line: str | bytes, reason: str
) -> None:
    good = {
        "a.tsv": "cat\tIsA\tpet",
        "a.csv": "cat,IsA,pet",
        "a.jsonl": '{"subject": "cat", "relation": "IsA", "object": "pet"}',
    }[name].encode()
    bad = line.encode() if isinstance(line, str) else line
    first, fault, last = _read(write(name, b"\n".join([good, b"", bad, good])))
    assert first == last == ("cat", "IsA", "pet")
    assert isinstance(fault, BadLine)
    assert fault.number == 3
    assert reason in fault.reason


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "", "holds no fact"),
        ("a.tsv", "# nothing\n\n", "holds no fact"),
        ("a.tsv", "subject\trelation\tobject\n", "holds no fact"),
        ("a.tsv", "dog\ncat\nbird\nfish\n", "line 3: it has 1 column where 3 belong; and 1 more"),
        ("a.tsv", "subject\tpredicate\tobject\ndog\tIsA\tcat\n", "does not name subject, relation"),
        ("a.csv", "subject,relation,object,object\n", "object once each"),
        ("a.tsv", b"\xff\xfed\x00o\x00g\x00", "no UTF-8 text"),
        ("a.tsv", b"dog\tIsA\0\tcat", "no UTF-8 text"),
        ("a.json", "[]", "'.json'; right are .tsv"),
        ("facts", "dog\tIsA\tcat", "'nothing'; right are .tsv"),
    ],
)
def test_a_file_with_nothing_usable_refuses_the_start(
    write: Write, name: str, content: str | bytes, message: str
) -> None:
    path = write(name, content)
    with pytest.raises(StartupError) as raised:
        Knowledge.load([path])
    assert message in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_there_refuses_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="No such file"):
        Knowledge.load([tmp_path / "none.tsv"])
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(StartupError, match="cannot be read"):
        Knowledge.load([tmp_path / "folder.tsv"])


def test_two_of_one_name_refuse_the_start(write: Write) -> None:
    one, other = write("a.tsv", "dog\tIsA\tcat"), write("a.csv", "dog,IsA,cat")
    with pytest.raises(StartupError, match=r"two .* are named a: .*a\.tsv and .*a\.csv"):
        Knowledge.load([one, other])


@pytest.fixture
def animals(write: Write) -> KnowledgeBase:
    return KnowledgeBase.load(
        write(
            "animals.v1.tsv",
            "dog\tIsA\tanimal\n"
            "Dog\tisa\tpet\n"
            "cat\tIsA\tanimal\n"
            "dog\tIsA\t ANIMAL\n"
            "dog\tAtLocation\thouse\n"
            "bad line\n"
            "house\tHasA\tCafe\u0301\n",
        )
    )


def test_a_knowledge_base_tells_what_it_holds(animals: KnowledgeBase, tmp_path: Path) -> None:
    assert (animals.name, animals.file, animals.format) == ("animals.v1", "animals.v1.tsv", "tsv")
    assert animals.entities == ("dog", "animal", "pet", "cat", "house", "Cafe\u0301")
    assert animals.relations == (
        RelationFacts("IsA", triples=3, subjects=2, objects=2),
        RelationFacts("AtLocation", triples=1, subjects=1, objects=1),
        RelationFacts("HasA", triples=1, subjects=1, objects=1),
    )
    assert (animals.triples, animals.subjects, animals.objects) == (5, 3, 4)
    assert animals.duplicates == 1
    assert animals.bad_lines == (BadLine(6, "it has 1 column where 3 belong"),)
    other = tmp_path / "other.tsv"
    other.write_bytes((tmp_path / "animals.v1.tsv").read_bytes())
    assert KnowledgeBase.load(other).digest == animals.digest
    other.write_text("dog\tIsA\tanimal")
    assert KnowledgeBase.load(other).digest != animals.digest


def test_facts_are_found_from_either_end_in_the_order_of_the_file(animals: KnowledgeBase) -> None:
    assert animals.known("object", "IsA", "dog") == ("animal", "pet")
    assert animals.known("object", " ISA", "DOG ") == ("animal", "pet")
    assert animals.known("subject", "IsA", "animal") == ("dog", "cat")
    assert animals.known("subject", "HasA", "CAF\u00c9") == ("house",)
    assert animals.known("object", "AtLocation", "cat") == ()
    assert animals.known("object", "UsedFor", "dog") == ()
    assert animals.known("object", "IsA", "bird") == ()


def test_a_relation_tells_what_stands_at_its_ends(animals: KnowledgeBase) -> None:
    assert animals.entities_of("IsA", "object") == ("animal", "pet")
    assert animals.entities_of("isa", "subject") == ("dog", "cat")
    assert animals.entities_of("UsedFor", "object") == ()
    assert "isa" in animals
    assert "UsedFor" not in animals


def test_what_any_of_them_knows_is_known(write: Write) -> None:
    one = write("one.tsv", "dog\tIsA\tanimal\ndog\tHasA\ttail\n")
    other = write("other.csv", "dog,IsA,pet\ndog,IsA,animal\n")
    knowledge = Knowledge.load([one, other])
    assert knowledge
    assert knowledge.known("object", ["IsA"], "dog") == ("animal", "pet")
    assert knowledge.known("object", ["HasA", "IsA"], "dog") == ("tail", "animal", "pet")
    assert knowledge.known("subject", ["IsA"], "pet") == ("dog",)
    assert knowledge.find("other").file == "other.csv"
    with pytest.raises(UnknownKnowledgeError, match="'Othr'; did you mean 'other'"):
        knowledge.find("Othr")
    assert not Knowledge()
    with pytest.raises(UnknownKnowledgeError, match="none is loaded"):
        Knowledge().find("one")


NAMES = st.text("abAB \u00e9", min_size=1, max_size=2).filter(str.strip)


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES, NAMES), min_size=1, max_size=30))
def test_lookups_are_those_of_a_plain_search(
    tmp_path_factory: pytest.TempPathFactory, facts: Sequence[tuple[str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("facts") / "facts.jsonl"
    path.write_text(
        "\n".join(
            json.dumps(dict(zip(("subject", "relation", "object"), fact, strict=True)))
            for fact in facts
        )
    )
    base = KnowledgeBase.load(path)
    folded = [tuple(map(fold_text, fact)) for fact in facts]
    distinct = list(dict.fromkeys(folded))
    assert base.triples == len(distinct)
    assert base.duplicates == len(facts) - len(distinct)
    for subject, relation, object_ in distinct:
        assert [fold_text(text) for text in base.known("object", relation, subject)] == [
            fact[2] for fact in distinct if fact[:2] == (subject, relation)
        ]
        assert [fold_text(text) for text in base.known("subject", relation, object_)] == [
            fact[0] for fact in distinct if fact[1:] == (relation, object_)
        ]
        assert {fold_text(text) for text in base.entities_of(relation, "object")} == {
            fact[2] for fact in distinct if fact[1] == relation
        }


def test_a_hundred_thousand_facts_are_found(write: Write) -> None:
    random = np.random.default_rng(0)
    rows = random.integers(0, [20_000, 40, 20_000], (100_000, 3)).tolist()
    path = write("large.tsv", "".join(f"s{s}\tr{r}\te{o}\n" for s, r, o in rows))
    base = KnowledgeBase.load(path)
    assert base.triples == len({tuple(row) for row in rows})
    for s, r, _ in rows[:200]:
        expected = {f"e{o}" for a, b, o in rows if (a, b) == (s, r)}
        assert set(base.known("object", f"r{r}", f"s{s}")) == expected
