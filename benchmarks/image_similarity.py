"""Similarity of real image sets to source profiles, with the positive control and the trap of resolution.

ResNet-20 with its true source, the CIFAR-10 training images, is the one case where the source is the real pretraining
data: CIFAR-10 test images must be similar however large they are stored, digits and characters dissimilar. ImageNet
models are compared with 32x32 images of Tiny ImageNet, a proxy. Beside every set stands the raw value that it would
have at the resolution it is stored at, against source images at theirs: the trap.

Run: python benchmarks/image_similarity.py   (data in $TRANSFER_DATA, default ../shared/data;
writes benchmarks/results/)
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from advisor.similarity.distance import surprisal
from advisor.similarity.image_build import anchor_images, build_image_profile
from advisor.similarity.image_profile import ImageProfile, image_rows
from advisor.similarity.image_similarity import measure_image_similarity
from tuner.model.assemble import load_backbone
from tuner.model.backbone import Backbone
from tuner.records import write_text_atomically

ROWS = 500
# Images of 224 pixels take minutes: fewer of every set, which the intervals show.
FEWER_ROWS = {"mobilenet_v2_1.0_224_imagenet": 100}
CONTROL = "resnet20_cifar10"
MOBILENETS = ("mobilenet_v1_0.25_128_imagenet", "mobilenet_v2_1.0_224_imagenet")
SIDES = (8, 12, 16, 20, 28, 32, 64, 128)
"""Shorter sides in pixels at which the sets of the positive control are stored."""
CONTROLS = {"CIFAR-10 test": "similar", "MNIST": "dissimilar", "Omniglot": "dissimilar"}
MUST_BE = {
    **{f"{name}, stored at {side}": verdict for name, verdict in CONTROLS.items() for side in SIDES},
    **CONTROLS, "CIFAR-10 test, cats only": "similar", "flat colour": "dissimilar", "shuffled pixels": "dissimilar",
    "noise": "dissimilar",
}  # fmt: skip
COLUMNS = (
    "model", "set", "stored_at", "rows", "raw", "raw_as_stored", "by_block", "score", "low", "high", "verdict",
    "p_similar", "textures", "textures_near_below", "textures_far_above", "textures_far_end", "support_share", "grey",
    "seconds",
)  # fmt: skip


class Unit(nn.Module):
    """Residual unit of the CIFAR ResNet; its shortcut subsamples and fills new channels with zeros (option A)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.fill = stride, (channels - channels_in) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.stride != 1:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.fill, self.fill))
        return functional.relu(x + y)


class CifarResNet(nn.Module):
    """ResNet-20 for images of 32x32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Unit(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Unit(16, 32, 2), Unit(32, 32, 1), Unit(32, 32, 1))
        self.layer3 = nn.Sequential(Unit(32, 64, 2), Unit(64, 64, 1), Unit(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(functional.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TRANSFER_DATA", "../shared/data")))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    arguments = parser.parse_args()
    data: Path = arguments.data
    backbones = {
        CONTROL: cifar_resnet(data),
        **{name: load_backbone(data / "models" / name, device="cpu") for name in MOBILENETS},
    }
    rows: list[dict[str, Any]] = []
    for name, backbone in backbones.items():
        source = "cifar10_images" if name == CONTROL else "tinyimagenet32_images"
        images = shuffled(read(data, f"source/{source}", "X_train"))
        kept, left_out = images[:-ROWS], images[-ROWS:]
        started = time.perf_counter()
        profile = build_image_profile(list(kept), backbone=backbone, name=source, description=source)
        print(f"{name}: profile of {source} in {time.perf_counter() - started:.0f} s", flush=True)
        rows += [
            measure(
                pictures[: FEWER_ROWS.get(name, ROWS)],
                name=label,
                model=name,
                backbone=backbone,
                profile=profile,
            )
            for label, pictures in target_sets(data, left_out).items()
        ]
        write(rows, arguments.out)
    print(markdown(rows))


def write(rows: list[dict[str, Any]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with (out / "image_similarity.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text_atomically(out / "image_similarity.md", markdown(rows))


def cifar_resnet(data: Path, *, device: str = "cpu") -> Backbone:
    from safetensors.torch import load_file
    from transformers import BitImageProcessor

    model = CifarResNet()
    model.load_state_dict(load_file(data / "models" / CONTROL / f"{CONTROL}.safetensors"))
    processor = BitImageProcessor(
        size={"height": 32, "width": 32},
        do_center_crop=False,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )
    return load_backbone((model, processor), device=device)


def read(data: Path, folder: str, name: str) -> np.ndarray:
    """Images as (n, h, w, 3)."""
    images = np.load(data / folder / "data.npz")[name]
    return images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=3)


def shuffled(images: np.ndarray) -> np.ndarray:
    return images[np.random.default_rng(0).permutation(len(images))]


def target_sets(data: Path, left_out: np.ndarray) -> dict[str, np.ndarray | list[Image.Image]]:
    cifar_test = read(data, "source/cifar10_images", "X_test")
    cats = cifar_test[np.load(data / "source/cifar10_images/data.npz")["y_test"] == 3][:ROWS]
    cifar = shuffled(cifar_test)[:ROWS]
    tiny_train = shuffled(read(data, "source/tinyimagenet32_images", "X_train"))[-ROWS:]
    tiny_test = shuffled(read(data, "source/tinyimagenet32_images", "X_test"))[:ROWS]
    mnist = shuffled(read(data, "images/mnist_t10k", "X_test"))[:ROWS]
    omniglot = shuffled(read(data, "images/omniglot_alphabets_32", "X_all"))[:ROWS]
    signs = shuffled(read(data, "images/sign_digits_64", "X_all"))[:ROWS]
    anchors = anchor_images([Image.fromarray(image) for image in left_out], np.random.default_rng(1))
    return {
        "the source's own, left out": left_out,
        "CIFAR-10 test": cifar,
        **resized("CIFAR-10 test", cifar),
        "CIFAR-10 test, cats only": cats,
        "CIFAR-10 test, in grey": grey(cifar),
        "Tiny ImageNet, train": tiny_train,
        "Tiny ImageNet, validation": tiny_test,
        "Tiny ImageNet, validation, stored at 16": stored_at(tiny_test, 16),
        "sign digits": signs,
        "sign digits, stored at 32": stored_at(signs, 32),
        "MNIST": mnist,
        **resized("MNIST", mnist),
        "Omniglot": omniglot,
        **resized("Omniglot", omniglot),
        "blurred blobs, 28": blobs(ROWS, side=28),
        "blurred blobs, 32": blobs(ROWS, side=32),
        "grey, detail of 7x7, 28": grey(stored_at(stored_at(tiny_test, 7), 28)),
        "grey, detail of 7x7, 32": grey(stored_at(stored_at(tiny_test, 7), 32)),
        "flat colour": anchors["flat"],
        "shuffled pixels": anchors["shuffled"],
        "noise": anchors["noise"],
    }


def resized(name: str, images: np.ndarray) -> dict[str, np.ndarray]:
    return {f"{name}, stored at {side}": stored_at(images, side) for side in SIDES}


def stored_at(images: np.ndarray, side: int) -> np.ndarray:
    how = Image.Resampling.LANCZOS
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side), how)) for image in images])


def grey(images: np.ndarray) -> np.ndarray:
    one = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    return np.repeat(one[..., None], 3, axis=3)


def blobs(n: int, *, side: int) -> np.ndarray:
    """Smooth grey images, as of small medical scans: two to five Gaussian spots each."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:side, :side] / side
    made = []
    for _ in range(n):
        image = np.zeros((side, side))
        for _ in range(rng.integers(2, 6)):
            (across, down), radius = rng.random(2), rng.uniform(0.1, 0.35)
            spot = np.exp(-((x - across) ** 2 + (y - down) ** 2) / (2 * radius**2))
            image += rng.uniform(0.3, 1) * spot
        image = (image - image.min()) / (image.max() - image.min())
        made.append((image * rng.uniform(120, 255)).astype(np.uint8))
    return np.repeat(np.stack(made)[..., None], 3, axis=3)


def measure(
    pictures: np.ndarray | list[Image.Image],
    *,
    name: str,
    model: str,
    backbone: Backbone,
    profile: ImageProfile,
) -> dict[str, Any]:
    started = time.perf_counter()
    measured = measure_image_similarity(
        list(pictures), backbone=backbone, profile=profile, how_to_measure="advisor source build"
    )
    seconds = time.perf_counter() - started
    assert measured.score is not None
    assert measured.interval is not None
    measures = measured.measures
    textures = measures["texture_distance"]
    print(f"  {name:<42} {measured.verdict:<11} {measured.score:.2f}", flush=True)
    return {
        "model": model,
        "set": name,
        "stored_at": measures["native_resolution"]["target"],
        "rows": measures["images"]["compared"],
        "raw": measures["excess_knn_surprisal"]["value"],
        "raw_as_stored": as_stored(pictures, backbone=backbone, profile=profile),
        "by_block": " ".join(f"{value:.2f}" for value in measures["excess_knn_surprisal"]["by_block"].values()),
        "score": round(measured.score, 3),
        "low": round(measured.interval[0], 3),
        "high": round(measured.interval[1], 3),
        "verdict": measured.verdict,
        "p_similar": round(measured.p_similar or 0.0, 3),
        "textures": textures["beyond_sampling"],
        "textures_near_below": textures["near_below"],
        "textures_far_above": textures["far_above"],
        "textures_far_end": textures["far_end"],
        "support_share": measures["support_share"]["value"],
        "grey": measures["grey_share"]["target"],
        "seconds": round(seconds, 2),
    }


def as_stored(pictures: np.ndarray | list[Image.Image], *, backbone: Backbone, profile: ImageProfile) -> float:
    """The raw value without bringing anything to one resolution: against the source at its own."""
    band = profile.bands[-1]
    images = [item if isinstance(item, Image.Image) else Image.fromarray(item) for item in pictures]
    distances = profile.distances(image_rows(backbone, images, profile.blocks), band)
    return round(float((surprisal(distances).mean(1) - surprisal(band.held_out).mean(1)).mean()), 4)


def markdown(rows: list[dict[str, Any]]) -> str:
    shown = (
        ("set", "set"), ("stored_at", "stored at, pixels"), ("rows", "rows"), ("raw", "excess surprisal, nats"),
        ("raw_as_stored", "the same without matching resolution"), ("by_block", "by block"), ("score", "score"),
        ("verdict", "verdict"), ("textures", "textures (far above)"), ("support_share", "support"),
    )  # fmt: skip
    lines = [
        "Written by `benchmarks/image_similarity.py`. Intervals are 95 % bootstrap ones. Score: 1 = the source, 0 = "
        "the mean of noise, shuffled pixels and flat colour; similar above .75, dissimilar below .50; local "
        "textures that contradict make it uncertain.",
    ]
    for model in dict.fromkeys(row["model"] for row in rows):
        of_model = sorted((row for row in rows if row["model"] == model), key=lambda row: row["raw"])
        source = "CIFAR-10 train (true source)" if model == CONTROL else "Tiny ImageNet 32x32 (proxy)"
        lines += ["", f"## {model}, source: {source}", ""]
        lines += ["| " + " | ".join(title for _, title in shown) + " |", "|" + "---|" * len(shown)]
        for row in of_model:
            cells = row | {
                "score": f"{row['score']:.2f} [{row['low']:.2f}, {row['high']:.2f}]",
                "raw": f"{row['raw']:.2f}",
                "raw_as_stored": f"{row['raw_as_stored']:.2f}",
                "textures": f"{row['textures']:.2f} ({row['textures_far_above']:.2f})",
                "support_share": f"{row['support_share']:.2f}",
            }
            lines.append("| " + " | ".join(str(cells[key]) for key, _ in shown) + " |")
    control = {row["set"]: row["verdict"] for row in rows if row["model"] == CONTROL}
    wrong = [f"{name} is {control[name]}" for name, verdict in MUST_BE.items() if control[name] != verdict]
    held = len(MUST_BE) - len(wrong)
    said = "; ".join(wrong) or "none is wrong"
    lines += ["", f"Positive control: {held} of {len(MUST_BE)} verdicts are as they must be; {said}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
