from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForMaskedLM

import plm
from plm.native import blocked_kernel
from plm.precision import has_amx
from tests.hugging_face import model_of, tokenizer_of

if TYPE_CHECKING:
    from tests.plm.conftest import EditConfig, Tiny


@pytest.fixture
def folder(bert: Tiny, tmp_path: Path) -> Path:
    """A copy of the tiny BERT that a test may break."""
    copy = tmp_path / "copy"
    shutil.copytree(bert.folder, copy)
    return copy


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_base_says_what_it_is(tiny: Tiny) -> None:
    base = tiny.base
    assert base.name == tiny.folder.name
    assert (base.layer_count, base.hidden_size, base.heads) == (4, 32, 4)
    assert base.vocab_size == len(base.tokenizer)
    assert base.digest.startswith("sha256:")
    assert len(base.digest) == 71
    assert base.device == torch.device("cpu")
    assert base.mask_token == tokenizer_of(base).mask_token
    assert not any(parameter.requires_grad for parameter in base.parameters.values())
    # RoBERTa's and MPNet's positions start after the padding's index, 1.
    offset = 2 if base.architecture.padding_index else 0
    assert base.max_length == 40 - offset
    assert "sha256" in repr(base)


def test_the_longest_prompt_runs(tiny: Tiny) -> None:
    base = tiny.base
    template = plm.Template.parse("a [X] [Y]")
    prompt = plm.encode_prompt(base, template, "the " * (base.max_length - 4))
    assert len(prompt.input_ids) == base.max_length
    logits = plm.Engine(base).logits([prompt.row], [None])
    torch.testing.assert_close(logits, tiny.reference_logits([prompt]), atol=1e-5, rtol=1e-5)


def test_random_weights_are_those_of_the_seed_and_of_no_training(tiny: Tiny) -> None:
    torch.manual_seed(123)
    first = plm.load_base(tiny.folder, device="cpu", random_seed=4)
    torch.manual_seed(321)
    again = plm.load_base(tiny.folder, device="cpu", random_seed=4)
    assert first.name == f"{tiny.folder.name}-random-4"
    assert first.digest == again.digest
    digests = {first.digest, tiny.base.digest}
    digests.add(plm.load_base(tiny.folder, device="cpu", random_seed=5).digest)
    assert len(digests) == 3
    assert first.layers[0].query.weight.shape == tiny.base.layers[0].query.weight.shape
    assert first.tokenizer.backend.get_vocab() == tiny.base.tokenizer.backend.get_vocab()
    assert not any(parameter.requires_grad for parameter in first.parameters.values())


def test_the_digest_does_not_depend_on_the_serving_type(bert: Tiny) -> None:
    half = plm.load_base(bert.folder, device="cpu", dtype=torch.float16)
    assert half.dtype == half.products == torch.float16
    assert half.layers[0].query.weight.dtype == torch.float16
    assert half.digest == bert.base.digest
    assert plm.load_base(bert.folder, device="cpu", dtype=torch.bfloat16).digest == half.digest


@pytest.mark.parametrize("blocked", [False, True])
def test_bfloat16_is_held_beside_float32_where_the_processor_multiplies_it(
    bert: Tiny, monkeypatch: pytest.MonkeyPatch, blocked: bool
) -> None:
    if not blocked:
        monkeypatch.setattr("plm.loading.blocked_kernel", lambda: None)
    elif (found := blocked_kernel()) is None or torch.bfloat16 not in found.dtypes or has_amx():
        pytest.skip("this processor has no products of bfloat16 but by matrix units")
    base = plm.load_base(bert.folder, device="cpu", dtype=torch.bfloat16)
    query = base.layers[0].query
    assert base.products == torch.bfloat16
    assert base.dtype == query.weight.dtype == (torch.float32 if blocked else torch.bfloat16)
    assert isinstance(query, plm.BlockedLinear) == blocked
    assert "bfloat16" in repr(base)


def test_int8_is_refused_where_there_are_no_products_in_it(
    bert: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A matrix of 32 columns fills no vector of integers, on any processor.
    with pytest.raises(plm.BaseModelError, match="multiple of 64 columns; use float32 or bfloat16"):
        plm.load_base(bert.folder, device="cpu", dtype=torch.int8)
    monkeypatch.setattr("plm.loading.blocked_kernel", lambda: None)
    with pytest.raises(plm.BaseModelError, match="a processor with AVX-512 VNNI"):
        plm.load_base("minilm-l6-mlm", device="cpu", dtype=torch.int8)


def test_half_precision_answers_stay_close(bert: Tiny) -> None:
    half = plm.load_base(bert.folder, device="cpu", dtype=torch.bfloat16)
    rows, mask = [prompt.row for prompt in bert.prompts], bert.combined()
    exact = plm.Engine(bert.base).logits(rows, [mask] * len(bert.prompts))
    rounded = plm.Engine(half).logits(rows, [mask] * len(bert.prompts))
    assert rounded.dtype == torch.float32
    assert torch.corrcoef(torch.stack([exact.flatten(), rounded.flatten()]))[0, 1] > 0.995


def test_fp16_files_have_the_digest_of_their_values(bert: Tiny, folder: Path) -> None:
    AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)
    rounded = plm.load_base(folder, device="cpu")
    again = plm.load_base(folder, device="cpu", dtype=torch.float16)
    assert rounded.dtype == torch.float32
    assert rounded.digest == again.digest != bert.base.digest


@pytest.mark.parametrize(
    "name",
    [
        "bert.embeddings.LayerNorm.bias",
        "bert.encoder.layer.0.output.dense.bias",
        "cls.predictions.bias",
    ],
)
def test_the_digest_covers_every_weight(bert: Tiny, folder: Path, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[name][0] += 1e-3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert plm.load_base(folder, device="cpu").digest != bert.base.digest


def test_tied_weights_are_one_and_count_once(tiny: Tiny) -> None:
    parameters, tied = tiny.base.parameters, tiny.base.architecture.tied
    assert all(parameters[second] is parameters[first] for second, first in tied.items())
    names, seen = [], set()
    state = hashlib.sha256(b"relata base 1\n")
    model = model_of(tiny.base)
    for name, parameter in sorted(model.named_parameters(remove_duplicate=False)):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            names.append(name)
            state.update(f"{json.dumps([name, list(parameter.shape)])}\n".replace(" ", "").encode())
            state.update(parameter.detach().numpy().tobytes())
    assert len(names) == len(parameters) - len(tied)
    assert tiny.base.digest == f"sha256:{state.hexdigest()}"


def _through_transformers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> plm.BaseModel:
    with monkeypatch.context() as patch:
        patch.setattr("plm.loading.stored_config", lambda _: None)
        patch.setattr("plm.loading.stored_parameters", lambda *_: None)
        return plm.load_base(folder, device="cpu")


def test_files_say_what_transformers_makes_of_them(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny.folder, folder)
    # A config says all; `save_pretrained` leaves some of it to the class.
    (folder / "config.json").write_text(json.dumps(model_of(tiny.base).config.to_dict()))
    with monkeypatch.context() as patch:
        for reader in ("read_config", "read_parameters"):
            patch.setattr(f"plm.hugging_face.{reader}", lambda *_: pytest.fail("not asked"))
        stored = plm.load_base(folder, device="cpu")
    theirs = _through_transformers(folder, monkeypatch)
    assert stored.parameters.keys() == theirs.parameters.keys()
    for name, parameter in stored.parameters.items():
        assert torch.equal(parameter, theirs.parameters[name]), name
    for key in ("digest", "max_length", "heads", "vocab_size", "hidden_size", "activation"):
        assert getattr(stored, key) == getattr(theirs, key)
    rows = [prompt.row for prompt in tiny.prompts]
    logits = plm.Engine(stored).logits(rows, [None] * len(rows))
    assert torch.equal(logits, plm.Engine(theirs).logits(rows, [None] * len(rows)))


@pytest.mark.parametrize("source", [*plm.embedded_bases(), "pocket"])
def test_an_embedded_tokenizer_is_the_one_that_transformers_reads(
    source: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "pocket":
        shutil.copytree(tiny.folder, tmp_path / source)
        monkeypatch.setattr("plm.loading.BASES", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("plm.hugging_face.read_tokenizer", lambda *_: pytest.fail("not asked"))
        base = plm.load_base(source, device="cpu")
    ours, theirs = base.tokenizer, tokenizer_of(base)
    assert ours.special_tokens == tuple(theirs.all_special_tokens)
    assert ours.special_ids == set(theirs.all_special_ids)
    assert (ours.mask_token, ours.pad_token) == (theirs.mask_token, theirs.pad_token)
    assert (ours.unk_token_id, len(ours)) == (theirs.unk_token_id, len(theirs))
    assert ours.max_length == theirs.model_max_length
    for text in ("A linen cloth, used for 1990 [MASK] <mask> caf\u00e9\u4e2d zzq.", "dog", " x  y"):
        assert ours.backend.encode(text).ids == theirs(text)["input_ids"]
        assert ours.backend.encode(text, "a dog").ids == theirs(text, "a dog")["input_ids"]


def test_a_tokenizer_with_a_class_of_its_own_goes_through_transformers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = plm.load_base(folder, device="cpu").tokenizer
    assert plain.backend.encode("A Dog").tokens == ["[CLS]", "a", "dog", "[SEP]"]
    _edit_tokenizer(folder, tokenizer_class="BertTokenizer", do_lower_case=False)
    asked = []
    monkeypatch.setattr(
        "plm.loading.hugging_face.read_tokenizer", lambda *place: asked.append(place) or plain
    )
    plm.load_base(folder, device="cpu")
    assert asked == [("copy", str(folder))]


@pytest.mark.parametrize("name", ["gelu_new", "gelu_pytorch_tanh", "relu", "silu"])
def test_activations_are_those_of_transformers(
    folder: Path, edit_config: EditConfig, bert: Tiny, name: str
) -> None:
    edit_config(folder, {"hidden_act": name})
    base = plm.load_base(folder, device="cpu")
    rows = [prompt.row for prompt in bert.prompts]
    batch = plm.collate(bert.prompts, base)
    with torch.no_grad():
        logits = model_of(base)(batch.input_ids, batch.attention_mask).logits
    expected = logits[torch.arange(len(rows)), batch.mask_positions]
    found = plm.Engine(base).logits(rows, [None] * len(rows))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_an_unsupported_activation(folder: Path, edit_config: EditConfig) -> None:
    edit_config(folder, {"hidden_act": "mish"})
    with pytest.raises(plm.BaseModelError, match="'mish' is not supported; supported are gelu"):
        plm.load_base(folder)


def test_weights_that_are_not_tied_stay_two(folder: Path, edit_config: EditConfig) -> None:
    edit_config(folder, {"tie_word_embeddings": False})
    weights = load_file(folder / "model.safetensors")
    words = weights["bert.embeddings.word_embeddings.weight"]
    weights["cls.predictions.decoder.weight"] = words + 0.5
    weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    base = plm.load_base(folder, device="cpu")
    assert torch.equal(base.head.decoder.weight, words + 0.5)
    assert torch.equal(base.embeddings.words, words)


def test_a_server_starts_without_importing_transformers() -> None:
    code = (
        "import sys, plm, app.main; plm.load_base(plm.embedded_bases()[0], device='cpu');"
        "sys.exit('transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_digest_is_taken_of_fp32_only(bert: Tiny) -> None:
    half = plm.load_base(bert.folder, device="cpu", dtype=torch.float16)
    with pytest.raises(ValueError, match="fp32 weights"):
        plm.weights_digest(half.parameters)


def test_a_hub_id_goes_through_the_hubs_cache(
    bert: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: None
) -> None:
    repository = tmp_path / "models--someone--tiny-bert"
    shutil.copytree(bert.folder, repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    base = plm.load_base("someone/tiny-bert", device="cpu")
    assert base.name == "someone/tiny-bert"
    assert base.digest == bert.base.digest


def test_an_embedded_base_is_found_by_name(
    bert: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bert.folder, tmp_path / "pocket")
    monkeypatch.setattr("plm.loading.BASES", tmp_path)
    assert plm.embedded_bases() == ("pocket",)
    base = plm.load_base("pocket", device="cpu")
    assert (base.name, base.digest) == ("pocket", bert.base.digest)
    monkeypatch.setattr("plm.loading.BASES", tmp_path / "none")
    assert plm.embedded_bases() == ()


@pytest.mark.parametrize("source", ["./nowhere", "/no/where", "~/nowhere-at-all", Path("nowhere")])
def test_a_missing_folder(source: str | Path) -> None:
    with pytest.raises(plm.BaseModelError, match="no folder"):
        plm.load_base(source)


@pytest.mark.parametrize("source", ["", "  "])
def test_no_name(source: str) -> None:
    with pytest.raises(plm.BaseModelError, match="no name"):
        plm.load_base(source)


def test_a_name_that_is_no_hub_id() -> None:
    with pytest.raises(plm.BaseModelError, match="form owner/name"):
        plm.load_base("a/b/c")


def test_an_unknown_hub_id(no_network: None) -> None:
    with pytest.raises(plm.BaseModelError, match="could not be had from the hub"):
        plm.load_base("someone/no-such-model-here")


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(plm.BaseModelError, match=r"has no config\.json"):
        plm.load_base(tmp_path)


def test_a_broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(plm.BaseModelError, match=r"config\.json of 'copy' cannot be read"):
        plm.load_base(folder)


def test_an_unsupported_architecture(folder: Path, edit_config: EditConfig) -> None:
    edit_config(folder, {"model_type": "electra", "architectures": ["ElectraForMaskedLM"]})
    with pytest.raises(plm.BaseModelError, match="'electra' are not supported"):
        plm.load_base(folder)


def test_a_decoder(folder: Path, edit_config: EditConfig) -> None:
    edit_config(folder, {"is_decoder": True})
    with pytest.raises(plm.BaseModelError, match="is a decoder"):
        plm.load_base(folder)


def test_relative_key_positions(folder: Path, edit_config: EditConfig) -> None:
    edit_config(folder, {"position_embedding_type": "relative_key"})
    with pytest.raises(plm.BaseModelError, match="relative_key positions"):
        plm.load_base(folder)


def test_an_encoder_without_its_head(folder: Path) -> None:
    AutoModel.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(plm.BaseModelError, match=r"is no masked LM: its weights lack cls\."):
        plm.load_base(folder)


def test_missing_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(plm.BaseModelError, match="weights of 'copy' cannot be loaded"):
        plm.load_base(folder)


def test_truncated_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(plm.BaseModelError, match="weights of 'copy' cannot be loaded"):
        plm.load_base(folder)


def test_weights_of_another_shape(folder: Path, edit_config: EditConfig) -> None:
    edit_config(folder, {"intermediate_size": 48})
    with pytest.raises(plm.BaseModelError, match="weights of 'copy' cannot be loaded"):
        plm.load_base(folder)


def test_weights_that_are_no_numbers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["bert.encoder.layer.0.output.dense.bias"][3] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(plm.BaseModelError, match=r"no finite numbers: bert\.encoder\.layer\.0"):
        plm.load_base(folder)


def test_no_tokenizer_files(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(plm.BaseModelError, match=r"tokenizer\.json|cannot be loaded"):
        plm.load_base(folder)


def _edit_tokenizer(folder: Path, **changes: object) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_no_mask_token(folder: Path) -> None:
    _edit_tokenizer(folder, mask_token=None)
    with pytest.raises(plm.BaseModelError, match="no mask token"):
        plm.load_base(folder)


def test_no_padding_token(folder: Path) -> None:
    _edit_tokenizer(folder, pad_token=None)
    with pytest.raises(plm.BaseModelError, match="no padding token"):
        plm.load_base(folder)


def test_no_fast_tokenizer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _edit_tokenizer(folder, tokenizer_class="BertTokenizer")

    class Slow:
        is_fast = False

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_: Slow())
    with pytest.raises(plm.BaseModelError, match="no fast tokenizer"):
        plm.load_base(folder)


def test_a_tokenizer_of_another_model(roberta: Tiny, folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(roberta.folder / name, folder / name)
    with pytest.raises(plm.BaseModelError, match="do not belong together"):
        plm.load_base(folder)


def test_a_tokenizer_of_another_kind(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"] = {
        "type": "WordLevel",
        "vocab": content["model"]["vocab"],
        "unk_token": "[UNK]",
    }
    path.write_text(json.dumps(content))
    with pytest.raises(plm.BaseModelError, match="of kind WordLevel"):
        plm.load_base(folder)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "nonsense:0"])
def test_a_device_that_is_not_there(bert: Tiny, device: str) -> None:
    with pytest.raises(plm.BaseModelError, match="cannot be used"):
        plm.load_base(bert.folder, device=device)


def test_auto_takes_what_there_is(bert: Tiny) -> None:
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert plm.load_base(bert.folder).device.type == expected


def test_weights_by_name(bert: Tiny) -> None:
    weight = bert.base.weight("bert.encoder.layer.0.output.dense.weight")
    assert weight.shape == (32, 64)
    with pytest.raises(KeyError, match="no parameter"):
        bert.base.weight("bert.encoder.layer.9.output.dense.weight")
    with pytest.raises(ValueError, match="layers 1 to 4, not 5"):
        bert.base.shapes(1, 5)


def test_the_head_for_some_tokens_only(tiny: Tiny) -> None:
    rows = torch.randn(3, 32)
    ids = torch.tensor([7, 5, 30])
    whole = tiny.base.head(rows)
    assert whole.shape == (3, tiny.base.vocab_size)
    some = tiny.base.head.logits(tiny.base.head.transform(rows), ids)
    torch.testing.assert_close(some, whole[:, ids])
