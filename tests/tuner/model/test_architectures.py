"""Blocks and exact freezing on tiny models of every family: the order is the order in which data really flows."""

from contextlib import nullcontext
from pathlib import Path

import make_architectures
import pytest
import torch

from helpers import architectures
from tuner.blocks import encoder_end, find_blocks, head_parameters
from tuner.freezing import audit, freeze
from tuner.model.hidden import HiddenStates, replay

pytestmark = pytest.mark.slow

UNREACHED = {"canine"}
"""Classify by what leaves an inner block: the last one is for tokens only."""

CASES = {
    name: next(iter(classes.items()))
    for name, classes in make_architectures.architectures().items()
    if name not in architectures.UNBUILT
}


@pytest.mark.parametrize("model_type", CASES)
def test_blocks_are_in_the_order_of_the_data_and_freeze_exactly(model_type):
    task, class_name = CASES[model_type]
    model = architectures.tiny_model(model_type, class_name)
    assert sum(p.numel() for p in model.parameters()) < 30_000_000
    blocks = find_blocks(model)
    assert len(blocks) >= 2
    _check_cover(model, blocks)
    inputs = architectures.example_inputs(model, task)
    _check_order(model.eval(), blocks, inputs)
    for depth in range(len(blocks) + 1):
        _train_one_step(model, blocks, inputs, depth, is_reached=model_type not in UNREACHED)


@pytest.mark.parametrize("model_type", CASES)
def test_nothing_is_random_in_the_frozen_prefix(model_type):
    """In training mode too: dropout without weights, or inside what holds the blocks, is off; no layer is skipped."""
    task, class_name = CASES[model_type]
    model = architectures.tiny_model(model_type, class_name)
    blocks = find_blocks(model)
    inputs = architectures.example_inputs(model, task)
    for depth in sorted({len(blocks) // 2, len(blocks)}):
        freeze(model, blocks, frozen_blocks=depth)
        model.train()
        states = []
        for _ in range(3):
            with torch.no_grad(), HiddenStates(blocks) as hidden:
                model(**inputs)
            states.append(hidden.states[:depth])
        for again in states[1:]:
            assert all(map(torch.equal, states[0], again))


@pytest.mark.parametrize("model_type", CASES)
def test_the_suffix_runs_from_what_the_prefix_returned(model_type):
    task, class_name = CASES[model_type]
    model = architectures.tiny_model(model_type, class_name).eval()
    blocks = find_blocks(model)
    inputs = architectures.example_inputs(model, task)
    with torch.no_grad(), HiddenStates(blocks) as hidden:
        expected = model(**inputs).logits
    states, layouts = hidden.states, hidden.layouts
    end = encoder_end(blocks)
    for depth in range(1, len(blocks)):
        memory = states[end] if end is not None else None
        freeze(model, blocks, frozen_blocks=depth)
        suffix = [p for p in model.parameters() if p.requires_grad]
        results = []
        for context in (
            nullcontext(),
            replay(blocks, depth=depth, hidden=states[depth - 1], layouts=layouts, memory=memory),
        ):
            with context:
                output = model.eval()(**inputs).logits
            gradients = torch.autograd.grad(output.float().square().sum(), suffix, allow_unused=True)
            results.append((output, gradients))
        (full, full_gradients), (ours, our_gradients) = results
        torch.testing.assert_close(full, expected)
        torch.testing.assert_close(ours, full)
        for theirs, mine in zip(full_gradients, our_gradients, strict=True):
            assert (theirs is None) == (mine is None)
            if theirs is not None:
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_enough_architectures_are_tried():
    assert len(CASES) >= 140


PAGE = Path(make_architectures.__file__).with_name("architectures.md").read_text(encoding="utf-8")
SOME = sorted(make_architectures.architectures())[::8]


def test_the_page_lists_every_architecture():
    listed = {line.split(" | ")[0].removeprefix("| ") for line in PAGE.splitlines() if line.startswith("| ")}
    assert sorted(listed - {"model type"}) == sorted(make_architectures.architectures())


@pytest.mark.parametrize("model_type", SOME)
def test_the_page_says_what_is_found(model_type):
    lines = [line for line in PAGE.splitlines() if line.startswith(f"| {model_type} | ")]
    rows = make_architectures.describe(model_type)
    assert lines == [line for line in make_architectures.table(rows) if line.startswith(f"| {model_type} | ")]


def _check_cover(model, blocks):
    held = [id(p) for block in blocks for p in block.parameters()]
    assert len(held) == len(set(held))
    head = {id(p) for p in head_parameters(model, blocks)}
    assert set(held) | head == {id(p) for p in model.parameters()}
    assert not set(held) & head


def _check_order(model, blocks, inputs):
    """Units run in order, and what leaves one depends on no parameter of a later block."""
    outputs = []
    handles = [
        block.unit.register_forward_hook(lambda _m, _a, out, index=block.index: outputs.append((index, out)))
        for block in blocks[1:]
    ]
    model(**inputs)
    for handle in handles:
        handle.remove()
    order = [index for index, _ in outputs]
    assert order == sorted(order)
    assert set(order) == set(range(1, len(blocks)))
    owner = {id(p): block.index for block in blocks for p in block.parameters()}
    parameters = [p for p in model.parameters() if p.requires_grad]
    names = {id(p): name for name, p in model.named_parameters()}
    for index, output in outputs:
        values = output if isinstance(output, (tuple, list)) else [output]
        state = next(v for v in values if torch.is_tensor(v) and v.requires_grad)
        gradients = torch.autograd.grad(state.float().square().sum(), parameters, allow_unused=True, retain_graph=True)
        later = [
            names[id(p)]
            for p, gradient in zip(parameters, gradients, strict=True)
            if gradient is not None and owner.get(id(p), len(blocks)) > index
        ]
        assert not later, f"block {index} reads {later[:3]}"


def _train_one_step(model, blocks, inputs, depth, *, is_reached):
    prefix = freeze(model, blocks, frozen_blocks=depth)
    model.train()
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:  # heads without weights of their own
        return
    optimizer = torch.optim.AdamW(trainable, lr=1e-2, weight_decay=0.1)
    output = model(**inputs).logits.float()
    if output.requires_grad:
        output.square().sum().backward()
    first = [p for p in blocks[depth].parameters() if p.requires_grad] if depth < len(blocks) else trainable
    before = [p.detach().clone() for p in first]
    optimizer.step()
    if is_reached and first and output.requires_grad:
        assert any(p.grad is not None for p in first)
    for parameter, was in zip(first, before, strict=True):
        if parameter.grad is not None and bool(parameter.grad.any()):
            assert not torch.equal(parameter, was)
    audit(prefix, model=model, optimizer=optimizer)
