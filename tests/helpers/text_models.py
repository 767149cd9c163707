"""Tiny text models of several architectures."""

from dataclasses import replace

import torch

from helpers import searches, tiny
from tuner.model.assemble import load_backbone
from tuner.search.bench import open_bench

# At the usual initial weights a tiny network says nearly the same of every text.
SPREAD = {"initializer_range": 0.3}


SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, **SPREAD}


def bert():
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(vocab_size=40, max_position_embeddings=64, **SIZES))


def roberta():
    from transformers import RobertaConfig, RobertaModel

    return RobertaModel(RobertaConfig(vocab_size=40, max_position_embeddings=66, pad_token_id=0, **SIZES))


def distilbert():
    from transformers import DistilBertConfig, DistilBertModel

    return DistilBertModel(DistilBertConfig(vocab_size=40, dim=32, n_layers=3, n_heads=2, hidden_dim=64, **SPREAD))


def electra():
    from transformers import ElectraConfig, ElectraModel

    return ElectraModel(ElectraConfig(vocab_size=40, embedding_size=32, **SIZES))


def gpt2():
    from transformers import GPT2Config, GPT2Model

    return GPT2Model(GPT2Config(vocab_size=40, n_positions=64, n_embd=32, n_layer=3, n_head=2, **SPREAD))


TEXT_MODELS = {"bert": bert, "roberta": roberta, "distilbert": distilbert, "electra": electra}


def text_backbone(make):
    torch.manual_seed(0)
    # Random networks magnify rounding, so all is in full precision here.
    return replace(load_backbone((make(), tiny.tokenizer()), device="cpu"), compute_dtype=torch.float32)


def bench_of(backbone, folder):
    space = searches.default_space(backbone.n_blocks)
    return open_bench(backbone, data=searches.DATA, space=space, work=folder, metric="accuracy", seed=0)
