"""The whole way on the real layout, with a dozen invented photographs: download, load, embed, score, distil."""

import io
import pickle
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from tiny_sets import photograph, published_meta, write_ground_truth

from rdistill_helpers import (
    Benchmark,
    BlackBoxTeacher,
    RetrievalNet,
    SfMImages,
    Training,
    distill,
    download,
    evaluate,
    extract,
    learn_whitening,
    load_published,
    recommended_scales,
    train_on_pairs,
)
from rdistill_helpers.distil.baselines import Pairs
from rdistill_helpers.fetch import sources

DATABASE, QUERIES = [f"place_{i:06d}" for i in range(10)], ["query_000001", "query_000002"]
TRAINING = [f"{i:02d}feedbeef{i:02d}" for i in range(12)]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A server that has tiny files under the official names."""
    tiny = [replace(file, size=None) for file in sources.SOURCES["roxford5k"]]
    monkeypatch.setitem(sources.SOURCES, "roxford5k", tiny)
    folder = tmp_path / "server"
    (folder / "roxford5k").mkdir(parents=True)
    gnd = [
        {"bbx": [4.0, 4.0, 80.0, 64.0], "easy": [0, 1], "hard": [2], "junk": [3]},
        {"bbx": [10.0, 8.0, 90.0, 70.0], "easy": [4], "hard": [5, 6], "junk": []},
    ]
    write_ground_truth(folder / "roxford5k" / "gnd_roxford5k.pkl", DATABASE, QUERIES, gnd)
    with tarfile.open(folder / "roxford5k" / "oxbuild_images-v1.tgz", "w:gz") as archive:
        for number, name in enumerate([*DATABASE, *QUERIES]):
            data = photograph(number, (96, 72) if number % 3 else (72, 96))
            member = tarfile.TarInfo(f"{name}.jpg")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    lists = {
        "cids": TRAINING,
        "cluster": [i // 2 for i in range(12)],
        "qidxs": [0, 2, 4, 6, 8, 10, 3],
        "pidxs": [1, 3, 5, 7, 9, 11, 3],
    }
    (folder / "train" / "dbs").mkdir(parents=True)
    for name in ("retrieval-SfM-120k.pkl", "retrieval-SfM-120k-whiten.pkl"):
        (folder / "train" / "dbs" / name).write_bytes(pickle.dumps({"train": lists, "val": lists}))
    for number, cid in enumerate(TRAINING):
        path = folder / "train" / "ims" / cid[-2:] / cid[-4:-2] / cid[-6:-4] / cid
        path.parent.mkdir(parents=True)
        path.write_bytes(photograph(100 + number))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def published_checkpoint(path):
    """ResNet101-GeM with random weights, in the format of cnnimageretrieval-pytorch."""
    torch.manual_seed(0)
    net = RetrievalNet("resnet101", weights=None)
    torch.save({"meta": published_meta("resnet101", 2048), "state_dict": net.state_dict()}, path)


@pytest.mark.slow
def test_the_real_path_from_download_to_a_distilled_student(mirror, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    download("roxford5k", root, mirrors=[mirror], progress=False)
    download("sfm120k", root, parts=TRAINING, mirrors=[mirror], progress=False)

    published_checkpoint(tmp_path / "teacher.pth")
    teacher = load_published(tmp_path / "teacher.pth")
    scales = recommended_scales(teacher)
    benchmark = Benchmark.load("roxford5k", root)
    queries = extract(teacher, benchmark.queries(imsize=80), scales, progress=False)
    database = extract(teacher, benchmark.lazy_images(imsize=80), scales, progress=False)
    assert (queries.shape, database.shape) == ((2, 2048), (10, 2048))

    training = SfMImages.load("train", root)
    assert (len(training), len(training.queries), training.dropped) == (12, 6, 1)
    assert training.missing() == []
    chosen = training.draw(10, seed=0)
    images = training.pixels(chosen, size=(48, 64))
    embed = partial(extract, teacher, progress=False)
    with BlackBoxTeacher(embed, budget=10, ledger=tmp_path / "ledger.sqlite", name="resnet101") as black_box:
        answers = black_box.query(images, progress=False)
        assert black_box.left == 0

    student, history = distill(
        RetrievalNet(), images, answers, anchors=2, neighbours=3, training=Training(steps=2, progress=False)
    )
    assert len(history.loss) == 2
    pairs = training.pairs_within(chosen)
    train_on_pairs(
        RetrievalNet(), images, training.clusters[chosen], *pairs, Pairs(tuples=2, negatives=2),
        Training(steps=2, progress=False),
    )  # fmt: skip

    rows = [extract(student, part, progress=False) for part in (benchmark.queries(80), benchmark.lazy_images(80))]
    for report in (evaluate(queries, database, benchmark), evaluate(*rows, benchmark)):
        assert 0 < report.medium.mAP <= 1
        assert len(report.hard.ap) == 2
    # Whitening is learned on pairs of training photographs and applied to finished descriptors. Five pairs span five
    # dimensions at most, so three random directions stand for the descriptor.
    directions = torch.randn(512, 3, generator=torch.Generator().manual_seed(0))
    few = extract(student, images, progress=False) @ directions
    assert learn_whitening(few, *pairs)(few).shape == (10, 3)
