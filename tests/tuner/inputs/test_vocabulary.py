import numpy as np
import pytest
import torch
from torch import nn

from helpers import tiny
from tuner.training.vocabulary import compact_vocabulary


@pytest.fixture
def base():
    return tiny.bert()


def test_rows_that_do_not_occur_keep_their_vectors(base):
    before = base.get_input_embeddings().weight.detach().clone()
    with compact_vocabulary(base, tokens=np.array([0, 5, 7])) as rows:
        assert rows == 3
        compact = base.get_input_embeddings()
        assert compact.weight.shape == (3, before.shape[1])
        assert torch.equal(compact(torch.tensor([[5, 7, 0]]))[0], before[[5, 7, 0]])
        with pytest.raises(IndexError):
            compact(torch.tensor([[6]]))
        with torch.no_grad():
            compact.weight[1] += 1
    after = base.get_input_embeddings().weight.detach()
    assert torch.equal(after[5], before[5] + 1)
    others = np.setdiff1d(np.arange(len(before)), [5])
    assert torch.equal(after[others], before[others])


def test_the_padding_row_has_no_gradient(base):
    padding = base.config.pad_token_id
    with compact_vocabulary(base, tokens=np.unique([padding, 3, 4])):
        compact = base.get_input_embeddings()
        compact(torch.tensor([[3, padding]])).sum().backward()
        assert compact.weight.grad[[int(compact.lookup[padding])]].abs().sum() == 0
        assert compact.weight.grad[[int(compact.lookup[3])]].abs().sum() > 0


def test_what_was_trained_is_written_back_after_an_error(base):
    def fails():
        with compact_vocabulary(base, tokens=np.array([0, 5])), torch.no_grad():
            base.get_input_embeddings().weight[1] = 7.0
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert torch.equal(base.get_input_embeddings().weight[5], torch.full((base.config.hidden_size,), 7.0))


def test_a_tied_or_small_table_is_left_whole(base):
    with compact_vocabulary(base, tokens=np.arange(base.config.vocab_size)) as rows:
        assert rows is None
    base.decoder = nn.Linear(base.config.hidden_size, base.config.vocab_size, bias=False)
    base.decoder.weight = base.get_input_embeddings().weight
    with compact_vocabulary(base, tokens=np.array([0, 5])) as rows:
        assert rows is None
