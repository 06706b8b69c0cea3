"""Every line of a file of facts becomes a triple or is accounted for by number and reason."""

import gzip
import hashlib
import json
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.delimited import split_csv
from training.data.errors import DataError
from training.data.readers import Format, TripleFile, read_triples
from training.data.rows import RowError
from training.data.triples import Triple

LINEN = Triple("linen", "MadeOf", "flax")
BIRD = Triple("bird", "CapableOf", "fly")


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def reasons(found: TripleFile) -> dict[int, str]:
    return {bad.number: bad.reason for bad in found.bad_lines}


@pytest.mark.parametrize(
    ("content", "format_"),
    [
        ("subject\trelation\tobject\nlinen\tMadeOf\tflax\nbird\tCapableOf\tfly\n", "tsv"),
        ("object,subject,relation\nflax,linen,MadeOf\nfly,bird,CapableOf\n", "csv"),
        ("Head,Relation,Tail,weight\nlinen,MadeOf,flax,1\nbird,CapableOf,fly,2\n", "csv"),
        ("s\tr\to\nlinen\tMadeOf\tflax\nbird\tCapableOf\tfly", "tsv"),
        ("linen\tMadeOf\tflax\nbird\tCapableOf\tfly\n", "tsv"),
        ("linen,MadeOf,flax\nbird,CapableOf,fly\n", "csv"),
        ("MadeOf\tlinen\tflax\nCapableOf\tbird\tfly\n", "conceptnet-100k"),
        ("MadeOf\tlinen\tflax\t1\nCapableOf\tbird\tfly\t1.5\n", "conceptnet-100k"),
        (
            '{"subject": "linen", "relation": "MadeOf", "object": "flax"}\n'
            '{"head": "bird", "relation": "CapableOf", "tail": "fly"}\n',
            "jsonl",
        ),
        (
            '{"pred": "MadeOf", "sub_label": "linen", "obj_label": "flax", "uuid": "1"}\n'
            '{"predicate_id": "CapableOf", "sub_label": "bird", "obj_label": "fly"}\n',
            "lama",
        ),
        (
            '{"pred": "MadeOf", "sub": "linen", "obj": "flax", "obj_label": "flax"}\n'
            '{"pred": "CapableOf", "sub": "bird", "obj": "fly", "obj_label": "fly"}\n',
            "lama",
        ),
    ],
)
@pytest.mark.parametrize("dress", ["plain", "bom", "crlf", "blank lines", "gzip", "xz"])
def test_each_format_is_told_by_content_and_read(
    tmp_path: Path, content: str, format_: Format, dress: str
) -> None:
    raw = content.encode()
    match dress:
        case "bom":
            raw = b"\xef\xbb\xbf" + raw
        case "crlf":
            raw = raw.replace(b"\n", b"\r\n")
        case "blank lines":
            raw = b"\n  \n" + raw.replace(b"\n", b"\n\n")
        case "gzip":
            raw = gzip.compress(raw)
        case "xz":
            raw = lzma.compress(raw)
    path = write(tmp_path, "facts", raw)
    for asked in ("auto", format_):
        found = read_triples(path, format=asked)
        assert found.triples == (LINEN, BIRD)
        assert found.format == format_
        assert not found.bad_lines
        assert found.digest == f"sha256:{hashlib.sha256(raw).hexdigest()}"
        assert found.source == "facts"


def test_tsv_reports_each_bad_line_and_goes_on(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "facts.tsv",
        b"# a comment\n"
        b"linen\tMadeOf\tflax\n"
        b"two\tcolumns\n"
        b"four\tMadeOf\tcolumns\there\n"
        b"\tMadeOf\tflax\n"
        b"linen\tMadeOf\t \n"
        b"caf\xe9\tIsA\tplace\n"
        b"Linen \tMadeOf\tFLAX\n"
        b'bird\tCapableOf\t"fly\n',
    )
    found = read_triples(path)
    assert found.triples == (LINEN, Triple("bird", "CapableOf", '"fly'))
    assert reasons(found) == {
        3: "2 columns where 3 belong",
        4: "4 columns where 3 belong",
        5: "the subject is empty",
        6: "the object is empty",
        7: "not valid UTF-8",
    }
    assert found.bad_lines[-1].text == "caf\\udce9\tIsA\tplace"
    assert (found.lines, found.duplicates, found.comments) == (9, 1, 1)
    summary = found.summary()
    assert "2 facts in 2 relations from 9 lines" in summary
    assert "facts.tsv line 3: 2 columns" in summary
    assert "and 2 more" in summary


def test_csv_quotes(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "facts.csv",
        "subject,relation,object\n"
        '"salt, pepper",IsA,"the ""best"" spices"\n'
        'linen, MadeOf, "flax"\n'
        '"a stray quote,IsA,loss\n'
        '5" pipe,IsA,pipe\n'
        '"run"on,IsA,loss\n'
        "bird,CapableOf,fly\n",
    )
    found = read_triples(path)
    assert found.triples == (
        Triple("salt, pepper", "IsA", 'the "best" spices'),
        LINEN,
        BIRD,
    )
    assert set(reasons(found)) == {4, 5, 6}
    assert all("quote" in reason for reason in reasons(found).values())


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8")), min_size=1))
def test_a_csv_line_written_by_the_rules_is_split_as_it_was(fields: list[str]) -> None:
    line = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    assert split_csv(line) == fields


@given(st.text(alphabet='a", \t'))
def test_a_csv_line_is_split_whole_or_refused(line: str) -> None:
    try:
        fields = split_csv(line)
    except RowError:
        return
    # No character but quotes, separators and padding may be lost.
    assert line.count("a") == sum(field.count("a") for field in fields)


def test_json_lines_report_each_bad_line(tmp_path: Path) -> None:
    good = {"subject": "bird", "relation": "CapableOf", "object": "fly"}
    lines = [
        json.dumps(good),
        "{",
        json.dumps({**good, "object": 3}),
        json.dumps({**good, "object": None}),
        json.dumps({"subject": "bird", "relation": "CapableOf"}),
        json.dumps({**good, "head": "bird"}),
        json.dumps([good]),
        json.dumps({**good, "object": "\ud800"}),
        json.dumps({**good, "object": "  "}),
        "[" * 100_000,
        '{"subject": "bird", "relation": "CapableOf", "object": ' + "1" * 5000 + "}",
        json.dumps({**good, "object": "a\0b"}),
        json.dumps({**good, "object": "sing  loudly"}),
    ]
    found = read_triples(write(tmp_path, "facts.jsonl", "\n".join(lines)))
    assert found.triples == (BIRD, Triple("bird", "CapableOf", "sing loudly"))
    why = reasons(found)
    assert set(why) == set(range(2, 13))
    assert why[3] == "the object must be a string, not int"
    assert why[4] == "the object must be a string, not null"
    assert why[5] == "the field 'object' is missing"
    assert "more than once" in why[6]
    assert "not list" in why[7]
    assert "surrogate" in why[8]
    assert "NUL" in why[12]


def test_conceptnet_negatives_are_passed_over_and_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "test.txt",
        "MadeOf\tlinen\tflax\t1\nMadeOf\tlinen\tstone\t0\nMadeOf\tlinen\tair\tmaybe\n"
        "MadeOf\tlinen\tair\t-1\nMadeOf\tlinen\tair\tnan\nMadeOf\tlinen\n",
    )
    found = read_triples(path, format="conceptnet-100k")
    assert found.triples == (LINEN,)
    assert found.negatives == 1
    assert set(reasons(found)) == {3, 4, 5, 6}
    assert "1 negative passed over" in found.summary()


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    write(tmp_path, "b.tsv", "subject\trelation\tobject\nlinen\tMadeOf\tflax\nbad\n")
    packed = '{"pred": "CapableOf", "sub_label": "bird", "obj_label": "fly"}\n'
    write(tmp_path, "a.jsonl.gz", gzip.compress(packed.encode()))
    write(tmp_path, "c.csv", "")
    write(tmp_path, "README.md", "about")
    write(tmp_path, ".hidden.tsv", "junk")
    found = read_triples(tmp_path)
    assert found.triples == (BIRD, LINEN)
    assert found.ignored == ("README.md",)
    assert "README.md" in found.summary()
    assert [str(bad) for bad in found.bad_lines] == ["b.tsv line 3: 1 column where 3 belong"]
    before = found.digest
    write(tmp_path, "b.tsv", "subject\trelation\tobject\nlinen\tMadeOf\tcotton\nbad\n")
    assert read_triples(tmp_path).digest != before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no usable fact in 0 lines"),
        ("\n\n", "no usable fact in 2 lines"),
        ("# only\n# comments\n", "no usable fact in 2 lines"),
        ("subject\trelation\tobject\n", "no usable fact in 1 line"),
        (
            "subject,relation,object\na,b\na,,c\n,b,c\nd\n",
            "no usable fact in 5 lines: facts line 2: 2 columns where 3 belong; facts line 3: the "
            "relation is empty; facts line 4: the subject is empty; and 1 more",
        ),
        (b"PK\x03\x04\0\0\0binary", "not UTF-8 text"),
        ("subject\trelation\tobject".encode("utf-16"), "not UTF-8 text"),
        (gzip.compress(b"a,b,c", mtime=0)[:-9], "damaged compressed file"),
        (lzma.compress(b"a,b,c")[:-9], "damaged compressed file"),
    ],
)
def test_nothing_usable_is_refused(tmp_path: Path, content: str | bytes, told: str) -> None:
    with pytest.raises(DataError) as error:
        read_triples(write(tmp_path, "facts", content))
    assert told in str(error.value)


def test_a_missing_file_an_empty_folder_and_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"facts\.tsv: cannot be read"):
        read_triples(tmp_path / "facts.tsv")
    with pytest.raises(DataError, match="no usable fact"):
        read_triples(tmp_path)
    with pytest.raises(DataError, match="unknown format 'xml'"):
        read_triples(tmp_path, format="xml")  # type: ignore[arg-type]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(raw)
    for format_ in ("auto", "tsv", "csv", "jsonl", "lama", "conceptnet-100k"):
        try:
            found = read_triples(path, format=format_)  # type: ignore[arg-type]
        except DataError:
            continue
        accounted = (
            len(found.triples)
            + len(found.bad_lines)
            + found.duplicates
            + found.negatives
            + found.comments
        )
        assert 0 < accounted <= found.lines


SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("name", "format_", "relations"),
    [
        ("conceptnet-100k/valid.txt", "conceptnet-100k", 25),
        ("eval/lama-conceptnet/facts.jsonl", "lama", 16),
        ("eval/lama-trex/P1001.jsonl", "lama", 1),
    ],
)
def test_the_real_files(name: str, format_: str, relations: int) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip("the public data sets are not part of the repository")
    found = read_triples(path)
    assert found.format == format_
    assert not found.bad_lines
    assert len({triple.relation for triple in found.triples}) == relations
