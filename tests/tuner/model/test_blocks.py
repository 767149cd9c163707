import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AlbertModel, BartConfig, BartModel, BertConfig, BertModel, GPT2Config, GPT2Model

from tuner.blocks import find_blocks, head_parameters
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


def test_a_shared_layer_is_one_block_and_says_so():
    blocks = find_blocks(AlbertModel(AlbertConfig(**TINY, embedding_size=16)))
    assert len(blocks) == 2
    assert blocks[1].shared == "one layer, used 3 times"


def test_encoder_blocks_come_before_decoder_blocks():
    sizes = dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2)
    model = BartModel(BartConfig(vocab_size=50, d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64, **sizes))
    names = [block.name for block in find_blocks(model)]
    assert names == ["shared", "encoder.layers.0", "encoder.layers.1", "decoder.layers.0", "decoder.layers.1"]


def test_residual_units_of_stages_are_blocks():
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[2, 1], layer_type="basic")
    model = ResNetForImageClassification(config)
    names = [block.name for block in find_blocks(model)]
    assert names == ["embedder", *(f"encoder.stages.{s}.layers.{i}" for s, i in ((0, 0), (0, 1), (1, 0)))]


def test_a_depthwise_and_its_pointwise_convolution_are_one_block():
    from transformers import MobileNetV1Config, MobileNetV1Model

    blocks = find_blocks(MobileNetV1Model(MobileNetV1Config(depth_multiplier=0.25, image_size=32)))
    assert len(blocks) == 14
    assert all(len(block.modules) == 2 for block in blocks[1:])


def test_several_towers_are_refused():
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = CLIPVisionConfig(**sizes, image_size=32, patch_size=16)
    config = CLIPConfig(text_config=CLIPTextConfig(**sizes, vocab_size=60), vision_config=vision)
    with pytest.raises(ModelError, match="has several towers: vision_model beside other layers"):
        find_blocks(CLIPModel(config))


def test_a_language_model_of_characters_and_two_lstms_has_three_blocks():
    class Elmo(nn.Module):
        def __init__(self):
            super().__init__()
            self.characters = nn.Sequential(nn.Embedding(50, 8), nn.Conv1d(8, 8, 3))
            self.first = nn.LSTM(8, 8, bidirectional=True)
            self.second = nn.LSTM(16, 8, bidirectional=True)

    assert [block.name for block in find_blocks(Elmo())] == ["characters", "first", "second"]


def test_a_plain_module_ends_with_its_classifier():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3)
            self.unit1 = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
            self.unit2 = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
            self.out = nn.Linear(4, 2)

    model = Plain()
    blocks = find_blocks(model)
    assert [block.name for block in blocks] == ["stem", "unit1", "unit2"]
    assert {id(p) for p in head_parameters(model, blocks)} == {id(p) for p in model.out.parameters()}


def test_a_stack_of_operations_is_opened():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            convolutions = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)]
            self.features = nn.Sequential(*convolutions, nn.Conv2d(4, 5, 3))
            self.fc = nn.Linear(5, 2)

    blocks = find_blocks(Stack())
    assert [block.name for block in blocks] == ["features.0", "features.3", "features.5"]
    assert [sum(p.numel() for p in block.parameters()) for block in blocks] == [112 + 8, 148 + 8, 185]


def test_a_model_without_layers_is_refused():
    with pytest.raises(ModelError, match=r"no list of layers.*it has no part"):
        find_blocks(nn.Linear(2, 2))


def test_a_model_of_one_part_says_what_was_seen():
    with pytest.raises(ModelError, match=r"it has body \(Linear\)"):
        find_blocks(nn.ModuleDict({"body": nn.Linear(2, 2)}))


def test_loose_weights_belong_to_the_stem():
    class Loose(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2))])
            self.scale = nn.Parameter(torch.ones(1))

    blocks = find_blocks(Loose())
    assert [sum(p.numel() for p in block.parameters()) for block in blocks] == [1, 6, 6]


def test_weights_in_two_layers_belong_to_the_first():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2))])
            self.layers[1][0].weight = self.layers[0][0].weight

    blocks = find_blocks(Tied())
    assert [sum(p.numel() for p in block.parameters()) for block in blocks] == [6, 2]  # the first stands for the stem


def test_a_head_is_no_block_wherever_it_is_registered():
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.my_classifier = nn.Linear(4, 2)
            self.layers = nn.ModuleList([nn.Sequential(nn.Linear(4, 4)) for _ in range(2)])

    model = First()
    assert {id(p) for p in head_parameters(model, find_blocks(model))} == {
        id(p) for p in model.my_classifier.parameters()
    }


def test_the_last_layer_of_a_plain_stack_is_its_head():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    blocks = find_blocks(model)
    assert [block.name for block in blocks] == ["0", "2"]
    assert {id(p) for p in head_parameters(model, blocks)} == {id(p) for p in model[4].parameters()}


def test_around_a_pretrained_model_everything_is_head():
    from helpers import tiny

    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = tiny.bert()
            self.mix = nn.Sequential(nn.Sequential(nn.Linear(32, 8), nn.ReLU()), nn.Sequential(nn.Linear(8, 2)))

    model = Wrapper()
    blocks = find_blocks(model)
    assert len(blocks) == 4
    assert {id(p) for p in head_parameters(model, blocks)} == {id(p) for p in model.mix.parameters()}


@pytest.mark.parametrize("names", [("lstm1", "lstm2"), ("forward_layers", "backward_layers")])
def test_a_bidirectional_language_model_has_a_block_a_layer(names):
    class Elmo(nn.Module):
        def __init__(self):
            super().__init__()
            self.characters = nn.Embedding(30, 4)
            self.highway = nn.Linear(4, 4)
            self.projection = nn.Linear(4, 8)
            if names[0] == "lstm1":
                self.lstm1, self.lstm2 = nn.LSTM(8, 4, bidirectional=True), nn.LSTM(8, 4, bidirectional=True)
            else:
                self.forward_layers = nn.ModuleList([nn.LSTM(8, 8) for _ in range(2)])
                self.backward_layers = nn.ModuleList([nn.LSTM(8, 8) for _ in range(2)])

    blocks = find_blocks(Elmo())
    assert len(blocks) == 3
    stem = sum(p.numel() for p in blocks[0].parameters())
    assert stem == 30 * 4 + 20 + 40
    assert len({sum(p.numel() for p in block.parameters()) for block in blocks[1:]}) == 1


@pytest.mark.parametrize("names", [("tower_a", "tower_b"), ("text_layers", "image_tower")])
def test_two_towers_of_ones_own_are_refused(names):
    model = nn.ModuleDict({name: nn.ModuleList([nn.Sequential(nn.Linear(2, 2))] * 2) for name in names})
    with pytest.raises(ModelError, match="several towers"):
        find_blocks(model)


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return x + self.linear(x)


@pytest.mark.parametrize("name", ["fc", "head", "classifier"])
def test_a_head_of_composite_parts_is_no_block(name):
    net = nn.Module()
    net.stem = nn.Linear(4, 8)
    net.layers = nn.ModuleList([Residual(8) for _ in range(3)])
    setattr(net, name, nn.Sequential(Residual(8), Residual(8), nn.Linear(8, 2)))
    blocks = find_blocks(net)
    assert [block.name for block in blocks] == ["stem", "layers.0", "layers.1", "layers.2"]
    assert {id(p) for p in head_parameters(net, blocks)} == {id(p) for p in getattr(net, name).parameters()}


def test_two_pretrained_models_in_one_module_are_refused():
    config = BertConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=1, intermediate_size=8, vocab_size=10)
    both = nn.Module()
    both.question, both.answer = BertModel(config), BertModel(config)
    with pytest.raises(ModelError, match="several towers: question beside answer"):
        find_blocks(both)


def test_a_unit_of_branches_is_not_opened_and_a_norm_may_hold_an_activation():
    class BatchNormAct(nn.BatchNorm2d):
        def __init__(self, width):
            super().__init__(width)
            self.act = nn.ReLU()

    class Inception(nn.Module):
        def __init__(self):
            super().__init__()
            self.branch0 = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1)), nn.Sequential(nn.Conv2d(4, 4, 1)))
            self.branch1 = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1)), nn.Sequential(nn.Conv2d(4, 4, 1)))

    net = nn.Module()
    net.stem = nn.Conv2d(3, 4, 3)
    net.layers = nn.Sequential(Inception(), BatchNormAct(4), Inception())
    net.fc = nn.Linear(4, 2)
    assert [block.name for block in find_blocks(net)] == ["stem", "layers.0", "layers.2"]


def test_what_stands_before_a_pretrained_model_is_refused():
    config = BertConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=1, intermediate_size=8, vocab_size=10)
    net = nn.Module()
    net.adapter, net.bert = nn.Linear(8, 8), BertModel(config)
    with pytest.raises(ModelError, match="holds adapter before its pretrained model bert"):
        find_blocks(net)
    named = nn.Module()
    named.classifier, named.bert = nn.Linear(8, 2), BertModel(config)
    assert [block.name for block in find_blocks(named)] == ["embeddings", "encoder.layer.0", "encoder.layer.1"]
