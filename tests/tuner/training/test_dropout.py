"""Dropout with cheap random numbers drops as much, keeps expectations and gradients, and is torch's attention."""

import pytest
import torch
from torch.nn import functional

from helpers import tiny
from tuner.training.dropout import CheapDropout, cheap_dropout

ONES = torch.ones(400, 500)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_share_of_the_values_is_dropped_and_the_rest_made_up(p, dtype):
    with CheapDropout(0):
        out = functional.dropout(ONES.to(dtype), p)
    assert float((out == 0).float().mean()) == pytest.approx(p, abs=0.005)
    assert float(out.double().mean()) == pytest.approx(1, abs=0.02)
    assert out[out != 0].unique().numel() == 1
    halves = (out[:200] == 0).float().mean(), (out[200:] == 0).float().mean()
    assert abs(halves[0] - halves[1]) < 0.01
    neighbours = ((out[:, 1:] == 0) & (out[:, :-1] == 0)).float().mean()
    assert float(neighbours) == pytest.approx(p * p, abs=0.01)  # independent of each other


def test_modules_use_it_in_training_only():
    layer = torch.nn.Dropout(0.5)
    with CheapDropout(0):
        assert (layer(ONES) == 0).any()
        assert torch.equal(layer.eval()(ONES), ONES)
        assert torch.equal(functional.dropout(ONES, 0.0), ONES)
        assert (functional.dropout(ONES, 1.0) == 0).all()
        again = ONES.clone()
        functional.dropout(again, 0.5, inplace=True)
        assert (again == 0).any()


def test_gradients_pass_where_values_were_kept():
    x = torch.ones(50, 50, requires_grad=True)
    with CheapDropout(3):
        out = functional.dropout(x, 0.3)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_equal_seeds_drop_the_same_values_and_others_do_not():
    def masks(seed):
        with CheapDropout(seed):
            return [functional.dropout(ONES, 0.5) for _ in range(2)]

    first, again, other = masks(0), masks(0), masks(1)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


SHAPE = (2, 4, 7, 8)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": torch.rand(2, 1, 7, 7, generator=torch.Generator().manual_seed(0)) > 0.2},
        {"attn_mask": torch.randn(2, 1, 7, 7, generator=torch.Generator().manual_seed(0))},
        {"enable_gqa": True},
    ],
    ids=["plain", "causal", "scale", "bool", "bias", "gqa"],
)
def test_attention_is_torchs_own(options, monkeypatch):
    """With nothing dropped, and on average over many masks."""
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(SHAPE, generator=generator)
    heads = 2 if options.get("enable_gqa") else 4
    key, value = (torch.randn(2, heads, 7, 8, generator=generator) for _ in range(2))
    expected = functional.scaled_dot_product_attention(query, key, value, **options)
    with CheapDropout(0):
        drawn = [
            functional.scaled_dot_product_attention(query, key, value, dropout_p=0.2, **options) for _ in range(1500)
        ]
        monkeypatch.setattr(CheapDropout, "keep", lambda _self, like, _p: torch.ones_like(like))
        whole = functional.scaled_dot_product_attention(query, key, value, dropout_p=0.2, **options)
    torch.testing.assert_close(whole, expected)
    assert not torch.allclose(drawn[0], drawn[1])
    torch.testing.assert_close(torch.stack(drawn).mean(0), expected, atol=0.08, rtol=0)


def test_a_whole_model_trains_under_it_as_without_dropout():
    """Attention and hidden dropout of a real architecture go through it: switched off, nothing changes."""
    model = tiny.bert().train()
    inputs = {"input_ids": torch.randint(4, 20, (3, 9)), "attention_mask": torch.ones(3, 9, dtype=torch.long)}
    with CheapDropout(0):
        noisy = [model(**inputs).last_hidden_state for _ in range(2)]
    assert not torch.allclose(*noisy)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.config.attention_probs_dropout_prob = 0.0
    for layer in model.encoder.layer:
        layer.attention.self.dropout.p = 0.0
    with CheapDropout(0):
        quiet = model(**inputs).last_hidden_state
    torch.testing.assert_close(quiet, model.eval()(**inputs).last_hidden_state)


def test_a_gpu_keeps_its_own():
    assert not isinstance(cheap_dropout(torch.device("cuda"), seed=0), CheapDropout)
    assert isinstance(cheap_dropout(torch.device("cpu"), seed=0), CheapDropout)


@pytest.mark.parametrize("masking", ["bool", "float"])
def test_a_row_that_may_look_nowhere_is_zero_as_torchs_is(masking):
    query = torch.randn(1, 1, 4, 8, requires_grad=True)
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    mask[0, 0, 3] = False
    if masking == "float":
        mask = torch.zeros(1, 1, 4, 4).masked_fill(~mask, float("-inf"))
    with CheapDropout(0):
        output = functional.scaled_dot_product_attention(query, query, query, attn_mask=mask, dropout_p=0.1)
    assert bool((output[0, 0, 3] == 0).all())
    assert bool(output[0, 0, :3].isfinite().all())
    output.square().sum().backward()
    assert bool(query.grad.isfinite().all())
