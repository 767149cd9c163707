"""torchvision's models are loaded from checked files, never with random weights."""

import hashlib
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from advisor.cli import run
from tuner.errors import MissingFileError, ModelError, OptionError
from tuner.model.vision import load_torchvision


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return models.resnet18(weights=None, num_classes=3)


@pytest.fixture
def published(resnet, tmp_path, monkeypatch):
    """A weight file in torch's cache as torchvision publishes them: its name ends with its hash."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(resnet.state_dict(), folder / "x.pth")
    digest = hashlib.sha256((folder / "x.pth").read_bytes()).hexdigest()
    path = (folder / "x.pth").rename(folder / f"resnet18-{digest[:8]}.pth")
    weights = SimpleNamespace(url=f"https://nowhere.invalid/{path.name}", meta={"categories": ["a", "b", "c"]})
    monkeypatch.setattr(models, "get_model_weights", lambda _name: SimpleNamespace(DEFAULT=weights))
    return path


def test_a_published_file_is_loaded_and_its_hash_compared(resnet, published):
    model, sha256 = load_torchvision("resnet18")
    assert sha256 == hashlib.sha256(published.read_bytes()).hexdigest()
    assert not model.training
    assert all(torch.equal(tensor, resnet.state_dict()[name]) for name, tensor in model.state_dict().items())
    published.write_bytes(published.read_bytes() + b"x")
    with pytest.raises(ModelError, match="is not the file that torchvision published"):
        load_torchvision("resnet18")


def test_without_weights_nothing_is_made_up(published):
    published.unlink()
    with pytest.raises(ModelError, match="are not here and cannot be fetched") as caught:
        load_torchvision("resnet18")
    assert "--weights" in caught.value.fix


def test_own_weights_are_safetensors(resnet, tmp_path):
    path = tmp_path / "own.safetensors"
    save_file(resnet.state_dict(), path)
    model, sha256 = load_torchvision("resnet18", weights=path)
    assert len(sha256) == 64
    assert model.fc.out_features == 3
    assert torch.equal(model.layer4[1].conv2.weight, resnet.layer4[1].conv2.weight)
    assert torch.equal(model.bn1.running_mean, resnet.bn1.running_mean)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "lacks layer1.0.conv1.weight"),
        ("unexpected", "has other.weight too much"),
        ("shape", r"has conv1.weight of shape \(1, 1\), not \(64, 3, 7, 7\)"),
    ],
)
def test_weights_that_do_not_fit_are_named(resnet, tmp_path, damage, message):
    state = dict(resnet.state_dict())
    if damage == "missing":
        del state["layer1.0.conv1.weight"]
    else:
        state["other.weight" if damage == "unexpected" else "conv1.weight"] = torch.zeros(1, 1)
    save_file(state, tmp_path / "own.safetensors")
    with pytest.raises(ModelError, match=message):
        load_torchvision("resnet18", weights=tmp_path / "own.safetensors")


def test_wrong_names_and_files_are_said(tmp_path):
    with pytest.raises(OptionError, match="Did you mean 'resnet18'"):
        load_torchvision("resnet-18")
    with pytest.raises(MissingFileError, match="there is no file"):
        load_torchvision("resnet18", weights=tmp_path / "none.safetensors")
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ModelError, match="is not a safetensors file"):
        load_torchvision("resnet18", weights=tmp_path / "pickle.safetensors")


def test_the_command_line_prints_its_blocks(resnet, tmp_path, capsys):
    save_file(resnet.state_dict(), tmp_path / "own.safetensors")
    assert run(["model", "torchvision:resnet18", "--weights", str(tmp_path / "own.safetensors")]) == 0
    printed = capsys.readouterr().out
    assert "9 blocks" in printed
    assert "block 8   layer4.1" in printed
    assert run(["model", "all-MiniLM-L6-v2", "--weights", "x"]) == 2
    assert "goes with a torchvision model only" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["convnext_tiny", "squeezenet1_1", "mnasnet0_5", "resnet18"])
def test_weights_of_other_numbers_of_classes_are_understood(name, tmp_path):
    from safetensors.torch import save_file
    from torchvision.models import get_model

    torch.manual_seed(0)
    model = get_model(name, weights=None, num_classes=10)
    save_file(model.state_dict(), tmp_path / "own.safetensors")
    loaded, _ = load_torchvision(name, weights=tmp_path / "own.safetensors")
    for key, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor), key
