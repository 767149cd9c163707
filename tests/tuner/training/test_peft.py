"""Freezing a model that PEFT has put adapters into: what PEFT keeps stays, since it is not saved with them."""

import peft
import pytest
import torch
from transformers import BertForSequenceClassification

from helpers import tiny
from tuner.freezing import audit, freeze, thaw

CONFIGS = {
    "lora": lambda: peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"]),
    "lora with embeddings": lambda: peft.LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=["query"], modules_to_save=["classifier", "word_embeddings"]
    ),
    "ia3": lambda: peft.IA3Config(task_type="SEQ_CLS"),
    "prompt": lambda: peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3),
}


def base():
    torch.manual_seed(0)
    return BertForSequenceClassification(tiny.bert().config)


def trainable(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def trained(model, prefix, ids):
    """Three steps that PEFT's adapters take, audited."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
    audit(prefix, model=model, optimizer=optimizer)


@pytest.mark.parametrize("depth", [0, 2, 4])
@pytest.mark.parametrize("kind", CONFIGS)
def test_nothing_that_peft_keeps_is_trained_and_the_saved_model_is_the_same(tmp_path, kind, depth):
    ids = torch.randint(4, 20, (2, 8), generator=torch.Generator().manual_seed(0))
    model = peft.get_peft_model(base(), CONFIGS[kind]())
    before = trainable(model)
    prefix = freeze(model, frozen_blocks=depth)
    inside = {id(p) for block in prefix.blocks[:depth] for p in block.parameters()}
    assert trainable(model) == {n for n, p in model.named_parameters() if n in before and id(p) not in inside}
    untouched = model(input_ids=ids).logits
    trained(model, prefix, ids)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(base(), tmp_path).eval()
    with torch.no_grad():
        logits = model.eval()(input_ids=ids).logits
        torch.testing.assert_close(again(input_ids=ids).logits, logits)
    assert not torch.allclose(logits, untouched, atol=1e-3)


def test_frozen_adapters_learn_again_after_thawing_and_nothing_else():
    model = peft.get_peft_model(base(), CONFIGS["lora"]())
    before = trainable(model)
    freeze(model, frozen_blocks=4)
    assert not {name for name in trainable(model) if "lora" in name}
    freeze(model, frozen_blocks=2)
    assert {name for name in trainable(model) if "lora" in name} == {
        name for name in before if "layer.1." in name or "layer.2." in name
    }
    thaw(model)
    assert trainable(model) == before


def test_adapters_that_transformers_added_are_kept_too():
    model = base()
    model.add_adapter(peft.LoraConfig(r=2, target_modules=["query"]))
    before = trainable(model)
    freeze(model, frozen_blocks=0)
    assert trainable(model) == before
