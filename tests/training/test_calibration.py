"""Candidates of a real mask, the calibration of a mask and of a pack, and the test facts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertForMaskedLM

import plm
from masks import Calibration, MaskMismatchError, MaskPack, RelationMask, write_pack
from tests.hugging_face import tokenizer_of
from training.calibration import (
    Fit,
    calibrate,
    calibrate_pack,
    candidates_of,
    measure,
    measure_masks,
    questions_of,
)
from training.data import DataError, RelationTemplates, Split, Triple, split_by_fact
from training.evaluation import random_keep
from training.facts import add_to_train
from training.learning import LearnConfig, learn_mask

MakeMask = Callable[..., RelationMask]
CALIBRATION = Calibration(
    slope=1.0,
    intercept=0.0,
    threshold=0.2,
    subjects=1,
    candidates=20,
    facts=1,
    precision=0.5,
    recall=0.5,
    f1=0.5,
    expected_calibration_error=0.01,
    brier=0.01,
)


@pytest.fixture(scope="module")
def split(many_triples: tuple[Triple, ...]) -> Split:
    return split_by_fact(many_triples, seed=0)


@pytest.fixture(scope="module")
def make_mask(base: plm.BaseModel, templates: dict[str, RelationTemplates]) -> MakeMask:
    def make(part: Split, **fields: object) -> RelationMask:
        """A random mask of layers 3 and 4, said to be learned from the part."""
        values = {
            "keep": random_keep(base.shapes(3, 4), 0.1, seed=0),
            "relation": "IsA",
            "base_model": base.name,
            "base_digest": base.digest,
            "architecture": "bert",
            "layers": (3, 4),
            "method": "deterministic",
            "threshold": 0.5,
            "templates": (templates["IsA"].evaluation, *templates["IsA"].training),
            "data_name": "facts.tsv",
            "data_digest": part.digest,
            "seed": 0,
            "validation": {"mrr": 0.5},
            "tool_version": "0.1.0",
        }
        keep = values.pop("keep")
        return RelationMask.from_keep(fields.pop("keep", keep), **(values | fields))  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="module")
def learned(
    base: plm.BaseModel,
    templates: dict[str, RelationTemplates],
    split: Split,
    make_mask: MakeMask,
) -> RelationMask:
    """A mask that was learned from the split."""
    config = LearnConfig(learning_rate=3e-3, epochs=3, batch_size=8)
    mask = learn_mask(base, split, templates["IsA"], config, seed=0)
    return make_mask(split, keep=mask.keep)


def ids(base: plm.BaseModel, *words: str) -> set[int]:
    return {plm.object_token_id(base, word) for word in words}


# --- questions and candidates ------------------------------------------------------------------


def test_what_was_learned_is_left_out_and_what_is_known_is_true(base: plm.BaseModel) -> None:
    questions = questions_of(
        base,
        [Triple("Dog", "IsA", "animal"), Triple("saw", "IsA", "tool"), Triple("cat", "IsA", "one")],
        learned=[Triple("dog ", "IsA", "thing"), Triple("cat", "IsA", "ONE")],
        also_true=[
            Triple("dog", "IsA", "big"),
            Triple("dog", "IsA", "thing"),
            Triple("cow", "IsA", "animal"),
        ],
    )
    # The cat's one object is known from training in another spelling: nothing is left to ask.
    assert [question.subject for question in questions] == ["Dog", "saw"]
    dog, saw = questions
    assert dog.true == ids(base, "animal", "big")
    assert dog.left_out == ids(base, "thing")
    assert (saw.true, saw.left_out) == (ids(base, "tool"), frozenset())


def test_candidates_are_the_first_words_of_the_masked_model(
    base: plm.BaseModel, base_folder: Path, split: Split, make_mask: MakeMask
) -> None:
    mask = make_mask(split)
    questions = questions_of(
        base,
        [Triple("red dog", "IsA", "animal"), Triple("saw", "IsA", "tool")],
        learned=[Triple("saw", "IsA", "animal")],
    )
    found = candidates_of(base, mask, questions, listed=7)
    assert (found.subjects, found.facts, found.log_probs.shape) == (2, 2, (14,))
    # The plain model with masked weights, asked without any of our code.
    model = BertForMaskedLM.from_pretrained(base_folder).eval()
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in mask.shapes:
            parameters[name].mul_(torch.from_numpy(mask.keep(name)))
    vocabulary = tokenizer_of(base).get_vocab()
    words = [word for word in vocabulary if word[0].isalpha()]
    for index, subject in enumerate(("red dog", "saw")):
        prompt = tokenizer_of(base)(f"a {subject} is a [MASK] .", return_tensors="pt")
        place = (prompt.input_ids[0] == tokenizer_of(base).mask_token_id).nonzero().item()
        with torch.no_grad():
            log_probs = model(**prompt).logits[0, place].log_softmax(-1)
        allowed = [word for word in words if subject == "red dog" or word != "animal"]
        ranked = sorted(allowed, key=lambda word: -log_probs[vocabulary[word]].item())[:7]
        part = slice(7 * index, 7 * index + 7)
        expected = [log_probs[vocabulary[word]].item() for word in ranked]
        assert found.log_probs[part] == pytest.approx(expected, abs=1e-4)
        right = "animal" if subject == "red dog" else "tool"
        assert found.true[part].tolist() == [word == right for word in ranked]


def test_no_more_candidates_than_words(
    base: plm.BaseModel, split: Split, make_mask: MakeMask
) -> None:
    questions = questions_of(base, [Triple("dog", "IsA", "animal")], learned=[])
    found = candidates_of(base, make_mask(split), questions, listed=10_000)
    assert len(found.true) == int(plm.answer_token_ids(base).sum())
    assert found.true.sum() == 1
    assert candidates_of(base, make_mask(split), []).subjects == 0


def test_a_mask_of_another_base_is_refused(
    base: plm.BaseModel, split: Split, make_mask: MakeMask
) -> None:
    other = make_mask(split, base_digest="sha256:" + "0" * 64)
    with pytest.raises(MaskMismatchError):
        calibrate(base, other, split)


# --- one mask ----------------------------------------------------------------------------------


def test_a_learned_mask_is_calibrated_on_validation_facts(
    base: plm.BaseModel, learned: RelationMask, split: Split
) -> None:
    fit = calibrate(base, learned, split)
    calibration = fit.calibration
    assert calibration is not None
    assert calibration.subjects == len(split.validation)  # each has a subject of its own
    assert calibration.facts == len(split.validation)
    assert calibration.candidates == 20 * len(split.validation)
    assert calibrate(base, learned, split) == fit


def test_test_facts_are_as_good_as_unknown(
    base: plm.BaseModel, learned: RelationMask, split: Split
) -> None:
    others = tuple(replace(fact, object="thing") for fact in split.test)
    elsewhere = Split(split.train, split.validation, others)
    further = [Triple(f"the {fact.subject}", "IsA", fact.object) for fact in split.test]
    assert calibrate(base, learned, split) == calibrate(base, learned, elsewhere)
    # Not even when the further facts tell them.
    assert calibrate(base, learned, split, further) == calibrate(base, learned, split)


def test_further_facts_that_were_not_learned_from_are_true(
    base: plm.BaseModel, learned: RelationMask, split: Split
) -> None:
    subject = split.validation[0].subject
    further = [Triple(subject, "IsA", "place"), Triple(subject, "AtLocation", "barn")]
    alone, more = (calibrate(base, learned, split, facts).calibration for facts in ((), further))
    assert alone is not None
    assert more is not None
    assert more.facts == alone.facts + 1
    # Learned from, they are no candidates any more.
    grown = add_to_train(split, further[:1])
    seen = calibrate(base, learned, grown, further).calibration
    assert seen is not None
    assert seen.facts == alone.facts


def test_probabilities_are_held_against_test_facts(
    base: plm.BaseModel, learned: RelationMask, split: Split
) -> None:
    assert measure(base, learned, split) is None
    calibrated = learned.with_calibration(calibrate(base, learned, split).calibration)
    found = measure(base, calibrated, split)
    calibration = calibrated.metadata.calibration
    assert found is not None
    assert calibration is not None
    assert found.threshold == calibration.threshold
    assert found.subjects == found.facts == len(split.test)
    asked = candidates_of(
        base,
        learned,
        questions_of(base, split.test, learned=(*split.train, *split.validation)),
    )
    accepted = np.array([calibration.likely(value) for value in asked.log_probs])
    assert (found.accepted, found.found) == (accepted.sum(), (accepted & asked.true).sum())


def test_no_unseen_test_fact_leaves_nothing_to_measure(
    base: plm.BaseModel, learned: RelationMask, split: Split
) -> None:
    # To an uncased model without accents this is the fact that it has learned.
    twin = replace(
        split.train[0], object=split.train[0].object.replace("o", "\u00f6").replace("a", "\u00e4")
    )
    assert twin.key != split.train[0].key
    seen = Split(split.train, split.validation, (twin,))
    assert measure(base, learned.with_calibration(CALIBRATION), seen) is None


# --- packs -------------------------------------------------------------------------------------


@pytest.fixture
def pack(learned: RelationMask, make_mask: MakeMask, tmp_path: Path) -> MaskPack:
    """IsA, and AtLocation of facts that are too few."""
    few = make_mask(of_places(), relation="AtLocation", calibration=CALIBRATION)
    return write_pack(tmp_path / "pack", [learned, few], name="tiny", extra={"licence": "MIT"})


def of_places() -> Split:
    places = ("barn", "field", "shed", "house", "garden", "barn")
    animals = ("dog", "cat", "horse", "cow", "pig", "hen")
    facts = [Triple(*pair) for pair in zip(animals, ["AtLocation"] * 6, places, strict=True)]
    return split_by_fact(facts, seed=0)


def both(split: Split) -> Split:
    return Split(
        *(
            own + other
            for (_, own), (_, other) in zip(split.parts(), of_places().parts(), strict=True)
        )
    )


def test_a_pack_is_calibrated_in_place(base: plm.BaseModel, pack: MaskPack, split: Split) -> None:
    before = pack.load_all()
    told: dict[str, Fit] = {}
    after = calibrate_pack(base, pack.folder, both(split), tell=told.__setitem__)
    assert after.verify() == []
    assert MaskPack.open(pack.folder) == after
    assert after.manifest.extra == {"licence": "MIT"}
    assert sorted(told) == ["AtLocation", "IsA"]
    for relation, mask in after.load_all().items():
        assert mask.digest == before[relation].digest
        assert mask.metadata.calibration == told[relation].calibration
        plain = mask.with_calibration(before[relation].metadata.calibration)
        assert plain == before[relation]
    assert told["IsA"].calibration is not None
    # What it had was fitted on other facts, or by hand.
    assert told["AtLocation"].calibration is None


def test_one_relation_alone_is_calibrated(
    base: plm.BaseModel, pack: MaskPack, split: Split
) -> None:
    after = calibrate_pack(base, pack.folder, split, relations=["IsA"])
    assert after.load("IsA").metadata.calibration is not None
    assert after.load("AtLocation").metadata.calibration == CALIBRATION


def test_other_facts_than_those_learned_from_are_refused_and_change_nothing(
    base: plm.BaseModel, pack: MaskPack, split: Split, many_triples: tuple[Triple, ...]
) -> None:
    before = {path.name: path.read_bytes() for path in pack.folder.iterdir()}
    other = split_by_fact(many_triples, seed=1)
    for facts in (other, of_places(), Split(split.train[1:], split.validation, split.test)):
        with pytest.raises(DataError, match=r"mask of IsA was learned from other facts.*seed 0"):
            calibrate_pack(base, pack.folder, facts, relations=["IsA"])
    with pytest.raises(DataError, match="AtLocation"):
        calibrate_pack(base, pack.folder, split)
    assert {path.name: path.read_bytes() for path in pack.folder.iterdir()} == before


def test_a_mask_is_measured_only_on_facts_that_go_with_it(
    base: plm.BaseModel, pack: MaskPack, split: Split
) -> None:
    masks = calibrate_pack(base, pack.folder, split, relations=["IsA"]).load_all()
    told: list[str] = []
    (found,) = measure_masks(base, masks, split, tell=told.append)
    assert found == measure(base, masks["IsA"], split)
    (line,) = told
    assert line.startswith("the mask of AtLocation was learned from other facts")
    # A mask without a calibration makes no claim.
    plain = {"IsA": masks["IsA"].with_calibration(None)}
    assert measure_masks(base, plain, split, tell=told.append) == ()
    assert len(told) == 1
