"""Weights that are held once, in the form that their products read."""

import pytest
import torch
from safetensors.torch import load_file

import plm
from plm.linear import linear
from plm.loading import BASES
from plm.native import blocked_kernel

EMBEDDED = "minilm-l6-mlm"


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.int8], ids=str)
def base(request: pytest.FixtureRequest) -> plm.BaseModel:
    try:
        return plm.load_base(EMBEDDED, device="cpu", dtype=request.param)
    except plm.BaseModelError as error:
        pytest.skip(str(error))


def test_parameters_are_those_of_the_file_whatever_form_they_are_held_in(
    base: plm.BaseModel,
) -> None:
    stored = load_file(BASES / EMBEDDED / "model.safetensors")
    assert len(base.parameters) == len(list(base.parameters)) >= len(stored)
    for name, values in stored.items():
        parameter = base.parameters[name]
        assert parameter.dtype == base.dtype
        assert tuple(values.shape) == base.parameters.shape(name) == parameter.shape
        assert torch.equal(parameter, values.to(base.dtype)), name
    if base.dtype == torch.float32:
        assert plm.weights_digest(base.parameters) == base.digest


def test_a_parameter_is_one_tensor_while_somebody_has_it(base: plm.BaseModel) -> None:
    second = "cls.predictions.decoder.weight"
    first = base.architecture.tied[second]
    for name in (first, "bert.encoder.layer.5.output.dense.weight"):
        with torch.inference_mode():
            kept = base.weight(name)
        assert base.weight(name) is kept
        assert not kept.is_inference()
    assert base.weight(first) is base.weight(second)


def test_answers_need_no_weight_in_another_form(base: plm.BaseModel) -> None:
    if not isinstance(base.layers[0].query, plm.BlockedLinear):
        pytest.skip("this processor has no products of blocks")
    prompt = plm.encode_prompt(base, plm.Template.parse("[X] is a [Y]."), "A dog")
    wanted = [plm.TopTokens(5), plm.TopTokens(2, targets=(2000, 2001, 2002), among_targets=True)]
    plm.Engine(base).read([plm.Probe(prompt.row, None, one) for one in wanted])
    held = [*(part for layer in base.layers for _, part in layer.linears())]
    held += [base.head.dense, base.head.decoder]
    assert all(isinstance(part, plm.BlockedLinear) for part in held)
    assert not [part for part in held if "weight" in vars(part)]


def test_some_outputs_alone_are_those_of_the_whole(base: plm.BaseModel) -> None:
    decoder, rows = base.head.decoder, torch.tensor([5, 3, 5])
    some = decoder.only(rows)
    assert torch.equal(some.weight, decoder.weight[rows])
    assert some.bias is not None
    assert decoder.bias is not None
    assert torch.equal(some.bias, decoder.bias[rows])


def test_blocks_are_dense_once_asked_and_take_part_in_gradients() -> None:
    if (blocks := blocked_kernel()) is None:
        pytest.skip("this processor has no products of blocks")
    weight = torch.randn(8, 64).half()
    part = plm.BlockedLinear(blocks.pack(weight, torch.float16), None, None)
    with torch.inference_mode():
        dense = part.weight
    assert part.weight is dense
    assert torch.equal(dense, weight.float())
    some = torch.tensor([7, 0, 7])
    assert torch.equal(part.only(some).weight, dense[some])
    states = torch.randn(2, 64, requires_grad=True)
    linear(states, [part], [2]).sum().backward()
    torch.testing.assert_close(states.grad, weight.float().sum(0).expand(2, -1))
