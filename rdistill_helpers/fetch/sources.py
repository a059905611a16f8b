"""What can be downloaded: address, place in the data folder and, where known, size and checksum of every file."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from rdistill_helpers.data.sfm import sfm_path


@dataclass(frozen=True)
class File:
    """A file to download.

    Attributes:
        path: where it goes in the data folder, and where a mirror has it.
        url: its own address.
        size: in bytes, None where unknown.
        sha256: first hexadecimal digits of its checksum, empty where unknown.
        unpacked: whether it is an archive whose photographs, all of them, will take as much space again.
    """

    path: str
    url: str
    size: int | None = None
    sha256: str = ""
    unpacked: bool = False


PUBLISHED_URL = "http://cmp.felk.cvut.cz/cnnimageretrieval/data/networks/"
PUBLISHED = {
    "retrievalSfM120k-resnet101-gem": "retrieval-SfM-120k/retrievalSfM120k-resnet101-gem-b80fb85.pth",
    "retrievalSfM120k-vgg16-gem": "retrieval-SfM-120k/retrievalSfM120k-vgg16-gem-b4dcdc6.pth",
    "rSfM120k-tl-resnet50-gem-w": "retrieval-SfM-120k/rSfM120k-tl-resnet50-gem-w-97bf910.pth",
    "rSfM120k-tl-resnet101-gem-w": "retrieval-SfM-120k/rSfM120k-tl-resnet101-gem-w-a155e54.pth",
    "rSfM120k-tl-resnet152-gem-w": "retrieval-SfM-120k/rSfM120k-tl-resnet152-gem-w-f39cada.pth",
    "gl18-tl-resnet50-gem-w": "gl18/gl18-tl-resnet50-gem-w-83fdc30.pth",
    "gl18-tl-resnet101-gem-w": "gl18/gl18-tl-resnet101-gem-w-a4d43db.pth",
    "gl18-tl-resnet152-gem-w": "gl18/gl18-tl-resnet152-gem-w-21278d5.pth",
}

_VGG = "https://www.robots.ox.ac.uk/~vgg/data/"
_TRUTH = "http://cmp.felk.cvut.cz/revisitop/data/datasets/"
_SHARDS = "http://ptak.felk.cvut.cz/revisitop/revisitop1m/jpg/"
_SFM = "http://cmp.felk.cvut.cz/cnnimageretrieval/data/"


def network_file(place: str) -> File:
    """The file of a published network; its name ends in the first digits of its checksum.

    Args:
        place: its path below PUBLISHED_URL.

    Returns:
        The file to download.
    """
    name = PurePosixPath(place)
    return File(f"networks/{name.name}", PUBLISHED_URL + place, sha256=name.stem.rpartition("-")[2])


SOURCES: dict[str, list[File]] = {
    "roxford5k": [
        File("roxford5k/gnd_roxford5k.pkl", _TRUTH + "roxford5k/gnd_roxford5k.pkl"),
        File(
            "roxford5k/oxbuild_images-v1.tgz", _VGG + "oxbuildings/oxbuild_images-v1.tgz", 1_938_238_004, unpacked=True
        ),
    ],
    "rparis6k": [
        File("rparis6k/gnd_rparis6k.pkl", _TRUTH + "rparis6k/gnd_rparis6k.pkl"),
        File("rparis6k/paris_1-v1.tgz", _VGG + "parisbuildings/paris_1-v1.tgz", unpacked=True),
        File("rparis6k/paris_2-v1.tgz", _VGG + "parisbuildings/paris_2-v1.tgz", unpacked=True),
    ],
    "revisitop1m": [
        File(f"revisitop1m/revisitop1m.{i}.tar.gz", f"{_SHARDS}revisitop1m.{i}.tar.gz", unpacked=True)
        for i in range(1, 101)
    ],
    "sfm120k": [
        File(f"train/dbs/{name}", f"{_SFM}train/dbs/{name}")
        for name in ("retrieval-SfM-120k.pkl", "retrieval-SfM-120k-whiten.pkl")
    ],
    **{name: [network_file(place)] for name, place in PUBLISHED.items()},
}
SFM_IMAGES_URL = _SFM
# All photographs of sfm_image in one; those that are wanted are picked out of it.
SFM_ARCHIVE = File("train/ims/ims.tar.gz", f"{_SFM}train/ims/ims.tar.gz")


def sfm_image(cid: str) -> File:
    """A training photograph of retrieval-SfM-120k.

    Args:
        cid: its id.

    Returns:
        The file to download.
    """
    return File(sfm_path(cid), SFM_IMAGES_URL + sfm_path(cid))
