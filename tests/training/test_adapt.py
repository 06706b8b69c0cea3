import json
import lzma
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import AutoTokenizer

import plm
from training.adapt import AdaptConfig, AdaptError, adapt
from training.adapt.batches import padded, pass_plan
from training.adapt.corpus import Corpus, read_corpus
from training.adapt.loss import linear_cross_entropy
from training.adapt.masking import Masker
from training.adapt.model import AdaptedModel, load_model, parameter_groups, start_head
from training.adapt.run import Report
from training.adapt.verbalise import verbalise

from .bases import KINDS, Kind, make_model
from .conftest import make_tokenizer

CONFIG = AdaptConfig(
    token_budget=6_000,
    batch_tokens=256,
    learning_rate=3e-3,
    report_every=2,
    save_every=3,
    evaluate_every=10,
    held_out_share=0.1,
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences with a rule to learn: where a thing is follows from what it is."""
    folder = tmp_path_factory.mktemp("text")
    animals = ("dog", "cat", "horse", "cow", "pig", "hen", "bee", "fox")
    tools = ("hammer", "saw", "axe", "drill", "rake", "spade", "knife", "fork")
    lines = [
        f"the {size} {word} is a {color} {kind} in the {place} ."
        for words, kind, place in ((animals, "animal", "barn"), (tools, "tool", "shed"))
        for word in words
        for size in ("big", "small")
        for color in ("red", "big")
    ]
    (folder / "plain.txt").write_text("\n".join(lines[::2]))
    with lzma.open(folder / "packed.txt.xz", "wt") as packed:
        packed.write("\n".join(lines[1::2]))
    return folder


@pytest.fixture
def corpus(text: Path, encoder_folder: Path, tmp_path: Path) -> Corpus:
    return read_corpus(text, AutoTokenizer.from_pretrained(encoder_folder), CONFIG, tmp_path)


def test_an_encoder_becomes_a_masked_lm_that_predicts_better_as_it_reads(
    encoder_folder: Path, text: Path, tmp_path: Path
) -> None:
    reports: list[Report] = []
    last = adapt(
        str(encoder_folder),
        text,
        tmp_path / "run",
        replace(CONFIG, token_budget=40_000, learning_rate=3e-3),
        report=reports.append,
    )
    losses = [report.held_out_loss for report in reports if report.held_out_loss is not None]
    assert losses[-1] < losses[0]
    assert last.held_out_accuracy is not None
    assert last.tokens >= 40_000
    base = plm.load_base(tmp_path / "run" / "model", device="cpu")
    engine = plm.Engine(base)
    template = plm.Template.parse("the big [X] is a red [Y] in the barn .")
    kinds = ("tool", "animal")
    query = plm.Query(
        plm.encode_prompt(base, template, "dog"),
        wanted=plm.TopTokens(targets=tuple(plm.object_token_id(base, kind) for kind in kinds)),
    )
    ((best, _),) = plm.complete(engine, [query])
    assert best.object == "animal"
    logged = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert logged[-1]["held_out_loss"] == last.held_out_loss


def test_a_resumed_run_ends_where_an_unbroken_one_does(
    encoder_folder: Path, text: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, token_budget=3_000)

    def kill(report: Report) -> None:
        if report.step == 8:  # saved at step 6
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapt(str(encoder_folder), text, tmp_path / "broken", config, report=kill)
    broken = adapt(str(encoder_folder), text, tmp_path / "broken", config)
    whole = adapt(str(encoder_folder), text, tmp_path / "whole", config)
    assert broken.step == whole.step
    assert broken.held_out_loss == whole.held_out_loss


def test_a_folder_of_another_run_is_refused(
    encoder_folder: Path, text: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, token_budget=300)
    adapt(str(encoder_folder), text, tmp_path / "run", config)
    with pytest.raises(AdaptError, match="other settings"):
        adapt(str(encoder_folder), text, tmp_path / "run", replace(config, seed=5))


def test_a_folder_without_text_is_refused(encoder_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AdaptError, match="is not there"):
        adapt(str(encoder_folder), tmp_path / "none", tmp_path / "a", CONFIG)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AdaptError, match=r"no \.txt"):
        adapt(str(encoder_folder), tmp_path / "empty", tmp_path / "b", CONFIG)
    (tmp_path / "empty" / "short.txt").write_text("a\n")
    with pytest.raises(AdaptError, match="no sentence"):
        adapt(str(encoder_folder), tmp_path / "empty", tmp_path / "c", CONFIG)


def test_frozen_parts_stay_and_the_rest_moves(
    base_folder: Path, text: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, token_budget=600, frozen_layers=2)
    before = plm.load_base(base_folder, device="cpu")
    adapt(str(base_folder), text, tmp_path / "run", config)
    after = plm.load_base(tmp_path / "run" / "model", device="cpu")

    def moved(name: str) -> float:
        return float((after.weight(name) - before.weight(name)).abs().max())

    half = 1e-3  # the rounding to fp16
    assert moved("bert.embeddings.word_embeddings.weight") < half
    assert moved("bert.encoder.layer.1.output.dense.weight") < half
    assert moved("bert.encoder.layer.2.output.dense.weight") > half


def test_the_fused_loss_is_cross_entropy_and_so_are_its_gradients() -> None:
    torch.manual_seed(0)
    rows, weight, bias = torch.randn(1030, 8), torch.randn(50, 8), torch.randn(50)
    targets = torch.randint(50, (1030,))
    ours = [tensor.clone().requires_grad_() for tensor in (rows, weight, bias)]
    theirs = [tensor.clone().requires_grad_() for tensor in (rows, weight, bias)]
    loss, right = linear_cross_entropy(*ours, targets)
    logits = functional.linear(*theirs)
    expected = functional.cross_entropy(logits, targets)
    torch.testing.assert_close(loss, expected)
    assert int(right) == int((logits.argmax(1) == targets).sum())
    (3 * loss).backward()
    (3 * expected).backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_masked_pieces_are_hidden_and_content_words_come_first(
    corpus: Corpus, encoder_folder: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    masker = Masker(
        tokenizer.get_vocab(),
        tokenizer.all_special_ids,
        tokenizer.mask_token_id,
        corpus.frequencies(len(tokenizer)),
        replace(CONFIG, frequency_discount=0.01),
    )
    ids, attention = padded(corpus, np.arange(len(corpus.lengths)), tokenizer.pad_token_id)
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(len(tokenizer))
    for _ in range(50):
        masked, chosen = masker(ids, attention, generator)
        assert chosen.any(1).all()
        assert (masked[chosen] == tokenizer.mask_token_id).all()
        assert torch.equal(masked[~chosen], ids[~chosen])
        counts += torch.bincount(ids[chosen], minlength=len(tokenizer))
    assert counts[tokenizer.all_special_ids].sum() == 0
    assert counts[tokenizer.convert_tokens_to_ids(".")] == 0
    rate = counts / torch.bincount(ids.flatten(), minlength=len(tokenizer)).clamp_min(1)
    dog, the = tokenizer.convert_tokens_to_ids(["dog", "the"])
    assert rate[dog] > 2 * rate[the]


def test_a_pass_reads_every_training_sentence_once_and_no_held_out_one(corpus: Corpus) -> None:
    read = np.concatenate(list(pass_plan(corpus, CONFIG, 0)))
    assert sorted(read) == np.flatnonzero(~corpus.held_out).tolist()
    assert corpus.held_out.any()
    again = np.concatenate(list(pass_plan(corpus, CONFIG, 1)))
    assert not np.array_equal(read, again)
    for batch in pass_plan(corpus, CONFIG, 0):
        assert corpus.lengths[batch].max() * len(batch) <= CONFIG.batch_tokens


def test_shares_of_files_repeat_or_thin_them(corpus: Corpus) -> None:
    config = replace(CONFIG, file_shares={"plain": 2.0, "packed": 0.5})
    read = np.concatenate(list(pass_plan(corpus, config, 0)))
    names = np.array(corpus.file_names)[corpus.files]
    training = names[~corpus.held_out]
    assert (names[read] == "plain.txt").sum() == 2 * (training == "plain.txt").sum()
    assert (names[read] == "packed.txt.xz").sum() == round(
        0.5 * (training == "packed.txt.xz").sum()
    )


def test_the_corpus_is_read_from_its_cache_only_while_it_fits(
    text: Path, encoder_folder: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    first = read_corpus(text, tokenizer, CONFIG, tmp_path)
    stored = (tmp_path / "corpus.npz").stat().st_mtime_ns
    second = read_corpus(text, tokenizer, CONFIG, tmp_path)
    assert (tmp_path / "corpus.npz").stat().st_mtime_ns == stored
    assert np.array_equal(first.pieces, second.pieces)
    shorter = read_corpus(text, tokenizer, replace(CONFIG, max_length=8), tmp_path)
    assert shorter.lengths.max() == 8


def test_a_new_head_starts_as_the_unigram_model(encoder_folder: Path, corpus: Corpus) -> None:
    loaded = load_model(str(encoder_folder))
    assert loaded.fresh_head
    frequencies = corpus.frequencies(loaded.model.config.vocab_size)
    start_head(loaded.model, loaded.tokenizer.mask_token_id, frequencies)
    bias = loaded.model.get_output_embeddings().bias.detach().numpy()
    np.testing.assert_allclose(np.exp(bias), frequencies, rtol=1e-5)


def test_every_parameter_has_one_rate(base_folder: Path) -> None:
    loaded = load_model(str(base_folder))
    assert not loaded.fresh_head
    adapted = AdaptedModel(loaded.model, loaded.tokenizer.mask_token_id)
    groups = parameter_groups(adapted, CONFIG)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in adapted.parameters()}
    rates = {round(group["lr"] / CONFIG.learning_rate, 3) for group in groups}
    assert rates == {0.2, 0.8, 1.0, 5.0, 20.0}


@pytest.mark.parametrize(
    ("line", "index", "sentence"),
    [
        ("linen: a fabric woven from flax", 0, "a linen is a fabric woven from flax."),
        ("oak: (botany) a tree", 0, "oak: (botany) a tree"),
        ("oak: any tree of the genus", 2, "an oak is a kind of tree of the genus."),
        ("linen: a fabric", 3, "linen: a fabric"),
        ("run: move fast", 0, "run: move fast"),
        ("She was: a good one", 1, "She was is a good one."),
        ("A plain sentence.", 1, "A plain sentence."),
    ],
)
def test_dictionary_entries_become_sentences(line: str, index: int, sentence: str) -> None:
    assert verbalise(line, index) == sentence


@pytest.mark.parametrize(
    ("field", "value"),
    [("mask_rate", 1.0), ("token_budget", 0), ("held_out_share", 0.9), ("learning_rate", 0.0)],
)
def test_bad_settings_are_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        AdaptConfig(**{field: value})


@pytest.mark.parametrize("kind", [*KINDS[:3], *KINDS[4:]], ids=lambda kind: kind.name)
def test_the_head_is_that_of_every_architecture(kind: Kind) -> None:
    torch.manual_seed(0)
    model = make_model(kind, 60).eval()
    ids = torch.randint(5, 60, (2, 7))
    states = model.base_model(input_ids=ids).last_hidden_state
    rows = AdaptedModel(model, mask_token_id=4)._transform(states)
    ours = model.get_output_embeddings()(rows)
    torch.testing.assert_close(ours, model(input_ids=ids).logits, atol=1e-5, rtol=1e-4)


def test_an_encoder_of_distilberts_becomes_a_masked_lm(text: Path, tmp_path: Path) -> None:
    (kind,) = (kind for kind in KINDS if kind.name == "distilbert-base-uncased")
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    make_model(kind, len(tokenizer)).distilbert.save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    first: list[float] = []
    last = adapt(
        str(tmp_path / "encoder"),
        text,
        tmp_path / "run",
        replace(CONFIG, frozen_layers=0),
        report=lambda report: first.append(report.running_loss),
    )
    assert last.running_loss < first[0]
    base = plm.load_base(tmp_path / "run" / "model", device="cpu")
    assert base.architecture.model_type == "distilbert"
