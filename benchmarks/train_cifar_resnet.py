"""Train the small image model that is shipped for examples and tests, from scratch on CIFAR-10 images.

    python benchmarks/train_cifar_resnet.py [--epochs 24] [--out FOLDER]

Reads 8,000 training and 3,000 test images from $TRANSFER_DATA/source/cifar10_images. Crops, flips, label smoothing and
a one-cycle rate; the test images are scored once, at the end. Writes weights in float16, image processor and card, and
what was measured to results/cifar-resnet.json. 13 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from transformers import BitImageProcessor, ResNetConfig, ResNetForImageClassification

from tuner.records import write_text_atomically
from tuner.tasks.metrics import interval

DATA = Path(os.environ.get("TRANSFER_DATA", Path(__file__).parents[2] / "shared" / "data"))
OUT = Path(__file__).parents[1] / "tuner" / "model" / "shipped" / "cifar-resnet"
RECORD = Path(__file__).parent / "results" / "cifar-resnet.json"
SIDE = 64  # the stem and its pooling reduce images to a quarter, so they are doubled first
BATCH = 128
RATE, DECAY, SMOOTHING = 0.01, 0.05, 0.1

CARD = """---
library_name: transformers
license: apache-2.0
pipeline_tag: image-classification
---

# cifar-resnet

A ResNet of {blocks} basic units and {parameters:,} weights, trained from scratch on {n_train:,} images of CIFAR-10
(Krizhevsky 2009) by `benchmarks/train_cifar_resnet.py`: {epochs} epochs, AdamW, one-cycle rate, crops and flips,
label smoothing. It exists for examples and tests, so that they need no network.

Test accuracy on {n_test:,} other CIFAR-10 images, scored once: {accuracy:.3f}, 95 % interval {low:.3f} to {high:.3f}.
Weights are stored in float16.
"""


def augmented(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image of (b, 3, 32, 32) shifted by up to four pixels, half of them mirrored."""
    b, _, h, w = images.shape
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4), mode="reflect")
    rows = torch.randint(0, 9, (b, 1), generator=generator) + torch.arange(h)
    columns = torch.randint(0, 9, (b, 1), generator=generator) + torch.arange(w)
    mirrored = torch.rand(b, generator=generator) < 0.5
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    number = torch.arange(b)[:, None, None]
    return padded[number, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def predict(folder: Path, images: np.ndarray) -> np.ndarray:
    """Class numbers (n,) of images (n, h, w, 3), by the model as it is stored."""
    model = ResNetForImageClassification.from_pretrained(folder, dtype=torch.float32).eval()
    processor = BitImageProcessor.from_pretrained(folder)
    found = []
    for start in range(0, len(images), 250):
        inputs = processor(list(images[start : start + 250]), return_tensors="pt", input_data_format="channels_last")
        with torch.inference_mode():
            found.append(model(**inputs).logits.argmax(1).numpy())
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    with np.load(DATA / "source" / "cifar10_images" / "data.npz") as stored:
        train, test = stored["X_train"], stored["X_test"]
        train_labels, test_labels = (torch.from_numpy(stored[name].astype(np.int64)) for name in ("y_train", "y_test"))
        names = [str(name) for name in stored["class_names"]]
    mean, deviation = train.mean((0, 1, 2)) / 255, train.std((0, 1, 2)) / 255
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    config = ResNetConfig(
        embedding_size=32, hidden_sizes=[32, 64, 112], depths=[2, 2, 2], layer_type="basic",
        id2label=dict(enumerate(names)), label2id={name: number for number, name in enumerate(names)},
    )  # fmt: skip
    model = ResNetForImageClassification(config).to(memory_format=torch.channels_last)
    parameters = sum(p.numel() for p in model.parameters())
    steps = options.epochs * -(-len(train) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps, pct_start=0.2)

    def fed(pixels: torch.Tensor) -> torch.Tensor:
        scaled = (pixels - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(deviation).view(1, 3, 1, 1)
        large = torch.nn.functional.interpolate(scaled.float(), size=SIDE, mode="bilinear", antialias=True)
        return large.contiguous(memory_format=torch.channels_last)

    images = torch.from_numpy(train).permute(0, 3, 1, 2).float() / 255
    started = time.perf_counter()
    for epoch in range(options.epochs):
        model.train()
        total = 0.0
        for rows in torch.randperm(len(images), generator=generator).split(BATCH):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(pixel_values=fed(augmented(images[rows], generator))).logits
            loss = torch.nn.functional.cross_entropy(logits.float(), train_labels[rows], label_smoothing=SMOOTHING)
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            total += float(loss.detach()) * len(rows)
        print(f"epoch {epoch + 1}: loss {total / len(images):.3f}, {time.perf_counter() - started:.0f} s", flush=True)

    processor = BitImageProcessor(
        size={"shortest_edge": SIDE}, crop_size=SIDE, resample=2, image_mean=mean.tolist(), image_std=deviation.tolist()
    )
    options.out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(options.out)
    processor.save_pretrained(options.out)
    n_train, n_test = len(train), len(test)
    found = predict(options.out, test) == test_labels.numpy()
    low, high = interval(np.ones(n_test, dtype=np.int64), found.astype(np.int64), metric="accuracy")
    weights = options.out / "model.safetensors"
    weights.chmod(0o644)  # safetensors writes private files
    accuracy = float(found.mean())
    card = CARD.format(
        blocks=sum(config.depths), parameters=parameters, n_train=n_train, n_test=n_test, epochs=options.epochs,
        accuracy=accuracy, low=low, high=high,
    )  # fmt: skip
    write_text_atomically(options.out / "README.md", card)
    measured = {
        "test_accuracy": accuracy, "interval": [low, high], "n_train": n_train, "n_test": n_test,
        "epochs": options.epochs, "parameters": parameters, "bytes": weights.stat().st_size,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }  # fmt: skip
    write_text_atomically(RECORD, json.dumps(measured, indent=1) + "\n")
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
