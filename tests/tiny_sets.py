"""What several tests build tiny sets of: photographs, and what a published checkpoint says of itself."""

import io

import numpy as np
from PIL import Image


def photograph(seed, size=(96, 72)):
    """A JPEG of a few coloured fields; neighbours in `seed` look alike."""
    random = np.random.default_rng(seed // 2)
    fields = random.integers(30, 220, (3, 4, 3)) + np.random.default_rng(seed).integers(0, 30, (3, 4, 3))
    file = io.BytesIO()
    Image.fromarray(fields.astype(np.uint8)).resize(size, Image.Resampling.NEAREST).save(file, "JPEG")
    return file.getvalue()


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
