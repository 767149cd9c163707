import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AlbertModel, BartConfig, BartModel, BertConfig, BertModel, GPT2Config, GPT2Model

from tuner.blocks import find_blocks
from tuner.errors import ModelError

TINY = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}


def test_bert_is_stem_and_layers_in_order():
    model = BertModel(BertConfig(**TINY))
    blocks = find_blocks(model)
    assert [block.name for block in blocks] == ["embeddings", "encoder.layer.0", "encoder.layer.1", "encoder.layer.2"]
    assert [block.index for block in blocks] == [0, 1, 2, 3]
    covered = sum(p.numel() for block in blocks for p in block.parameters())
    assert covered + sum(p.numel() for p in model.pooler.parameters()) == model.num_parameters()


def test_a_final_norm_belongs_to_the_last_block():
    model = GPT2Model(GPT2Config(n_layer=2, n_head=2, n_embd=32, vocab_size=50))
    blocks = find_blocks(model)
    assert [block.name for block in blocks] == ["wte", "h.0", "h.1"]
    assert model.ln_f in blocks[-1].modules
    assert {id(p) for block in blocks for p in block.parameters()} == {id(p) for p in model.parameters()}


def test_every_layer_list_of_real_architectures_is_covered():
    from transformers import DistilBertConfig, DistilBertModel, LlamaConfig, LlamaModel, RobertaConfig, RobertaModel

    models = [
        RobertaModel(RobertaConfig(**TINY)),
        DistilBertModel(DistilBertConfig(vocab_size=50, dim=32, n_layers=3, n_heads=2, hidden_dim=64)),
        LlamaModel(LlamaConfig(**TINY)),
    ]
    for model in models:
        assert len(find_blocks(model)) == 4, type(model).__name__


def test_shared_layers_are_refused():
    model = AlbertModel(AlbertConfig(**TINY, embedding_size=16))
    with pytest.raises(ModelError, match="declares 3 layers but holds 1"):
        find_blocks(model)


def test_encoder_decoders_are_refused():
    sizes = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
    model = BartModel(BartConfig(vocab_size=50, d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64, **sizes))
    with pytest.raises(ModelError, match="several lists of layers"):
        find_blocks(model)


def test_a_model_without_layers_is_refused():
    with pytest.raises(ModelError, match="no list of layers"):
        find_blocks(nn.Linear(2, 2))


def test_weights_outside_every_module_are_refused():
    class Loose(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(2, 2)])
            self.scale = nn.Parameter(torch.ones(1))

    with pytest.raises(ModelError, match="in no block, such as scale"):
        find_blocks(Loose())


def test_weights_in_two_layers_are_refused():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
            self.layers[1].weight = self.layers[0].weight

    with pytest.raises(ModelError, match="share weights"):
        find_blocks(Tied())
