"""Readers of networks, checkpoints and histories."""

import functools
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import save as safetensors_bytes

from rdistill_helpers import (
    History,
    RDistillError,
    RetrievalNet,
    Training,
    distill,
    load_network,
    load_published,
    load_whitening,
)
from reliability.hostile_inputs.making import (
    Reader,
    altered,
    changed,
    check_message,
    json_text,
    json_values,
    jsoned,
    put,
    values,
)
from reliability.samples import Student, colours, photographs


@functools.cache
def network() -> RetrievalNet:
    """Makes the smallest network."""
    torch.manual_seed(0)
    return RetrievalNet(weights=None)


@functools.cache
def architecture() -> dict[str, Any]:
    """Describes a network as its file does."""
    mean = [0.5, 0.5, 0.5]
    return {"backbone": "squeezenet1_1", "pooling": "gem", "dim": None, "mean": mean, "std": mean, "scale": 1.0}


@st.composite
def network_files(draw: Callable[..., Any]) -> bytes:
    """Makes a safetensors file of few weights with changed bytes, or with a length or a description that lies."""
    weights = {"whiten.weight": torch.ones(3, 2), "pool.p": torch.ones(1)}
    header = {name: draw(st.one_of(st.just(value), json_values)) for name, value in architecture().items()}
    header = {name: value for name, value in header.items() if draw(st.integers(0, 30))}
    content = safetensors_bytes(weights, {name: json_text(value).decode() for name, value in header.items()})
    kind = draw(st.integers(0, 2))
    if kind == 0:
        return draw(changed(content))
    if kind == 1:
        length = draw(st.sampled_from([0, 1, 2**31, 2**63, 2**64 - 1, len(content)]))
        return length.to_bytes(8, "little") + content[8:]
    return content


def read_network(content: bytes, folder: Path) -> object:
    """Reads a network that `save_network` should have written."""
    return load_network(put(folder, "net.safetensors", content))


@st.composite
def checkpoints(draw: Callable[..., Any]) -> bytes:
    """Makes a published checkpoint with another description, tensors larger than their storage, or changed bytes."""
    whole = {"architecture": "squeezenet1_1", "pooling": "gem", "whitening": False, "mean": [0.5] * 3, "std": [0.5] * 3}
    meta = draw(altered({**whole, "Lw": {"train": {"ss": {"m": [0.0], "P": [[1.0]]}}}}, values))
    tensors = st.sampled_from(
        [
            torch.ones(3),
            torch.ones(()),
            torch.ones(1).expand(10**6, 10**6),
            torch.ones(1).expand(10**12),
            torch.full((2, 2), torch.nan),
        ]
    )
    state = draw(
        st.dictionaries(st.sampled_from(["whiten.weight", "features.1.weight", "pool.p"]), tensors, max_size=2)
    )
    content = draw(st.one_of(st.just({"meta": meta, "state_dict": state}), altered({"m": state, "P": meta}, values)))
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=draw(st.booleans()))
    kept = buffer.getvalue()
    return kept if draw(st.integers(0, 1)) else draw(changed(kept, 3))


def read_checkpoint(content: bytes, folder: Path) -> object:
    """Reads a published network, and a published whitening."""
    path = put(folder, "net.pth", content)
    try:
        load_whitening(path)
    except RDistillError as error:
        check_message(error)
    return load_published(path)


TRAINING = Training(steps=4, augment=False, progress=False)


def training(folder: Path) -> object:
    """Trains for four steps, from folder/ckpt on."""
    images = photographs(8)
    return distill(
        Student(), images, colours(images), anchors=2, neighbours=1, training=TRAINING, checkpoint=folder / "ckpt"
    )


@functools.cache
def trained() -> bytes:
    """Makes the checkpoint of this training."""
    with tempfile.TemporaryDirectory() as folder:
        training(Path(folder))
        return (Path(folder) / "ckpt").read_bytes()


@st.composite
def training_checkpoints(draw: Callable[..., Any]) -> bytes:
    """Makes a checkpoint with changed bytes or values."""
    if draw(st.booleans()):
        return draw(changed(trained(), 3))
    state = torch.load(io.BytesIO(trained()), weights_only=True)
    lies = st.one_of(values, st.sampled_from([torch.zeros(0), torch.ones(3), torch.zeros(5, dtype=torch.uint8)]))
    buffer = io.BytesIO()
    torch.save(draw(altered(state, lies)), buffer)
    return buffer.getvalue()


def resume_training(content: bytes, folder: Path) -> object:
    """Resumes a training that was interrupted."""
    put(folder, "ckpt", content)
    return training(folder)


HISTORY = {"step": [0, 1], "loss": [0.5, 0.4], "lr": [0.1, 0.1], "seconds": [1.0, 2.0], "settings": {"loss": "pkt"}}


def read_history(content: bytes, folder: Path) -> object:
    """Reads a saved history."""
    history = History.load(put(folder, "history.json", content))
    return list(map(float, history.loss))


def readers() -> dict[str, Reader]:
    """Returns the readers by what they read."""
    return {
        "network (safetensors)": Reader(network_files(), read_network, 40),
        "checkpoint (published)": Reader(checkpoints(), read_checkpoint, 40),
        "checkpoint (training)": Reader(training_checkpoints(), resume_training, 30),
        "history (JSON)": Reader(jsoned(HISTORY), read_history, 40),
    }
