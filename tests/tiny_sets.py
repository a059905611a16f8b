"""What several tests build tiny sets of: photographs, colours, rooms, descriptors, and what a published checkpoint says."""

import hashlib
import io
import pickle
import zipfile

import numpy as np
import torch
from PIL import Image
from torch import nn

from rdistill_helpers import Benchmark

COLOURS = 24  # database images of the benchmark of plain colours


def photograph(seed, size=(96, 72)):
    """A JPEG of a few coloured fields; neighbours in `seed` look alike."""
    random = np.random.default_rng(seed // 2)
    fields = random.integers(30, 220, (3, 4, 3)) + np.random.default_rng(seed).integers(0, 30, (3, 4, 3))
    file = io.BytesIO()
    Image.fromarray(fields.astype(np.uint8)).resize(size, Image.Resampling.NEAREST).save(file, "JPEG")
    return file.getvalue()


class MeanColours(nn.Module):
    """A network without weights: the mean colours of the four quarters of a photograph."""

    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1) - 0.5


def published_meta(architecture, outputdim, **changes):
    """The description in a checkpoint of cnnimageretrieval-pytorch; plain GeM without whitening, unless changed."""
    return {
        "architecture": architecture,
        "local_whitening": False,
        "pooling": "gem",
        "regional": False,
        "whitening": False,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "outputdim": outputdim,
        **changes,
    }


def colour(i):
    """A photograph of one plain colour."""
    return Image.new("RGB", (80, 60), (10 * i % 256, 40 * i % 256, 200))


def colours():
    """A benchmark of plain colours: two queries, the second without a box and without easy images."""
    truth = [
        {"bbx": [10.0, 5.0, 60.0, 50.0], "easy": np.array([0, 1]), "hard": np.array([2, 3]), "junk": np.array([4])},
        {"bbx": None, "easy": np.array([], np.int64), "hard": np.array([5]), "junk": np.array([6, 7])},
    ]
    names = [f"d_{i}" for i in range(COLOURS)]
    return Benchmark("colours", ["q_30", "q_31"], names, truth, lambda name: colour(int(name.split("_")[1])))


def there_and_back():
    """A ranking of the colours: forwards for the first query, backwards for the second."""
    return torch.stack([torch.arange(COLOURS), torch.arange(COLOURS).flip(0)])


def unit_rows(count, dim, seed=0):
    """Random descriptors."""
    rows = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(rows, dim=1)


def write_rooms(folder, edition="2"):
    """A rooms set of one photograph of each part, with its labels; returns the archive. The first edition had no number."""
    truth = {"imlist": ["one"], "qimlist": ["one"], "gnd": [{"bbx": None, "easy": [0], "hard": [], "junk": []}]}
    members = {"train.txt": b"one\n", "images/one.webp": photograph(0)}
    members |= {f"gnd_{name}.pkl": pickle.dumps(truth, protocol=2) for name in ("rooms", "rooms-validation")}
    if edition is not None:
        members["edition.txt"] = edition.encode()
    with zipfile.ZipFile(folder / "rooms.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    digest = hashlib.sha256((folder / "rooms.zip").read_bytes()).hexdigest()
    (folder / "rooms.zip.sha256").write_text(f"{digest}  rooms.zip\n")
    (folder / "rooms_train_labels.csv").write_text("image,room\none,0\n")
    return folder / "rooms.zip"


def write_ground_truth(path, imlist, qimlist, gnd):
    """A ground truth in the layout of revisited Oxford and Paris, of plain Python objects."""
    plain = [{**entry, **{part: [int(i) for i in entry[part]] for part in ("easy", "hard", "junk")}} for entry in gnd]
    path.write_bytes(pickle.dumps({"imlist": imlist, "qimlist": qimlist, "gnd": plain}, protocol=2))
