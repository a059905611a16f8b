"""Unusual places: new processes, folders without rights, full disks, and homes with spaces and umlauts."""

import codecs
import hashlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from rdistill_course.closing_table import write_scores
from rdistill_course.runs import runs_root
from rdistill_helpers import (
    BadInput,
    Benchmark,
    BlackBoxTeacher,
    BudgetExceeded,
    DownloadFailed,
    History,
    InUse,
    RetrievalNet,
    TeacherUnavailable,
    Training,
    TrainingImages,
    distill,
    download,
    extract,
    extract_to_file,
    load_network,
    open_descriptors,
    save_descriptors,
    save_network,
)
from rdistill_helpers.data.paths import data_root
from rdistill_helpers.embed.black_box import image_key
from rdistill_helpers.fetch import sources
from rdistill_helpers.fetch.sources import File
from rdistill_helpers.serve import HttpTeacher, TeacherServer, new_key, read_keys

ROOT = Path(__file__).resolve().parents[1]


def photos(count=40):
    return torch.randint(0, 256, (count, 3, 8, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Colours(nn.Module):
    """A student whose row is one linear layer on the mean colour; `wide` makes it large."""

    def __init__(self, wide=8):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Linear(3, wide)

    def forward(self, images):
        return F.normalize(self.layer(images.mean(dim=(2, 3))))


def asked(images):
    return F.normalize(images.float().mean(dim=(2, 3)))


def ask(folder, images=None):
    with BlackBoxTeacher(asked, 10_000, folder / "ledger.sqlite", "colours", batch_size=8) as teacher:
        return teacher.query(photos() if images is None else images, progress=False)


def train(folder, wide=8):
    training = Training(steps=3, progress=False)
    settings = {"anchors": 2, "neighbours": 1, "training": training, "checkpoint": folder / "student.ckpt"}
    return distill(Colours(wide), photos(), asked(photos()), **settings)


# --- Workers that start as new processes, as on Windows and macOS


def digests_of(images):
    return [hashlib.sha256(np.asarray(image).tobytes()).hexdigest() for image in images]


def seen_by_a_worker(benchmark, training):
    return digests_of([benchmark.query(0), benchmark.lazy_images(imsize=64)[3], training.image(5)])


@pytest.mark.slow
def test_photographs_are_read_by_workers_that_start_anew():
    benchmark, training = Benchmark.load("rooms"), TrainingImages.load("rooms")
    seen = seen_by_a_worker(benchmark, training)  # with the archive open in this process
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(seen_by_a_worker, (benchmark, training)) == seen


class Slow(Colours):
    """Gives the other process a chance."""

    def forward(self, images):
        time.sleep(0.002)
        return super().forward(images)


def asked_slowly(folder, images):
    with (folder / "sent").open("ab") as notes:
        notes.write(b"".join(map(image_key, images)))
    time.sleep(0.002)
    return asked(images)


def share_everything(folder, first, budget):
    """What the second of two kernels does while the first does the same: one ledger, one file of descriptors."""
    (folder / "begun" / str(first)).mkdir(parents=True)
    while len(list((folder / "begun").iterdir())) < 2:
        time.sleep(0.01)
    with BlackBoxTeacher(
        partial(asked_slowly, folder), budget, folder / "ledger.sqlite", "colours", batch_size=2
    ) as teacher:
        try:
            teacher.query(photos()[first : first + 25], progress=False)
            refused = False
        except BudgetExceeded:
            refused = True
    while not (folder / "rows.npy").exists():
        try:
            extract_to_file(Slow(), photos(), folder / "rows.npy", "float32", batch_size=2, at_once=4, progress=False)
        except InUse:
            time.sleep(0.01)
        except BadInput as error:
            assert "is there already" in str(error)  # by the other one, since this one looked
    return refused


@pytest.mark.slow
@pytest.mark.parametrize("budget", [40, 30])
def test_two_kernels_share_one_ledger_and_one_file_and_never_overspend(tmp_path, budget):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        refused = pool.starmap(share_everything, [(tmp_path, 0, budget), (tmp_path, 15, budget)], chunksize=1)
    keys = (tmp_path / "sent").read_bytes()
    sent = [keys[start : start + 32] for start in range(0, len(keys), 32)]
    assert len(sent) == len(set(sent)) and 25 <= len(sent) <= budget
    assert any(refused) == (budget < 40)
    with BlackBoxTeacher(asked, budget, tmp_path / "ledger.sqlite", "colours") as teacher:
        assert teacher.spent == len(sent)
    rows = open_descriptors(tmp_path / "rows.npy")
    np.testing.assert_allclose(rows, extract(Colours(), photos(), progress=False).numpy(), atol=1e-6)
    assert {path.name for path in tmp_path.iterdir()} == {"begun", "sent", "ledger.sqlite", "rows.npy"}


# --- Homes with spaces and letters of all kinds


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "Jörg Müller 学生"
    folder.mkdir()
    for name in ("HOME", "USERPROFILE"):  # the second on Windows
        monkeypatch.setenv(name, str(folder))
    return folder


def test_folders_of_the_home_are_found_whatever_it_is_called(home, monkeypatch):
    (home / "meine Daten").mkdir()
    monkeypatch.setenv("RDISTILL_DATA", "~/meine Daten")
    monkeypatch.setenv("RDISTILL_RUNS", "~/Läufe 1")
    assert data_root() == home / "meine Daten"
    assert runs_root() == home / "Läufe 1" and (home / "Läufe 1").is_dir()


@pytest.mark.slow
def test_everything_is_written_and_read_in_such_a_home(home, monkeypatch):
    place = home / "a b"
    for number in range(3):
        (place / "Plätze" / "Haus 1").mkdir(parents=True, exist_ok=True)
        Image.fromarray(photos()[number].permute(1, 2, 0).numpy()).save(
            place / "Plätze" / "Haus 1" / f"Foto {number} ü.png"
        )
    own = Benchmark.from_folder(place / "Plätze")
    assert own.image_names == ["Haus 1/Foto 1 ü.png", "Haus 1/Foto 2 ü.png"]
    assert torch.equal(
        extract(Colours(), own.images(), progress=False), extract(Colours(), photos()[1:3], progress=False)
    )
    assert torch.equal(ask(place), asked(photos())) and torch.equal(ask(place), asked(photos()))
    rows = open_descriptors(extract_to_file(Colours(), photos(), place / "Zeilen 行.npy", "float32", progress=False))
    assert torch.equal(torch.from_numpy(np.array(rows)), extract(Colours(), photos(), progress=False))
    assert open_descriptors(save_descriptors(place / "ä.npy", asked(photos()))).shape == (40, 3)
    _, history = train(place)
    _, again = train(place)
    assert again == history
    history.save(place / "é.json")
    assert History.load(place / "é.json") == history
    save_network(RetrievalNet(weights=None), place / "Netz 1.safetensors")
    assert load_network(place / "Netz 1.safetensors").dim == 512
    (place / "mirror ü").mkdir()
    (place / "mirror ü" / "net.pth").write_bytes(b"\x80content")
    (place / "data").mkdir()
    monkeypatch.setitem(sources.SOURCES, "net", [File("net.pth", "http://127.0.0.1:9/net.pth")])
    assert download("net", place / "data", mirrors=[place / "mirror ü"], progress=False).read_bytes() == b"\x80content"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locale")
def test_the_command_speaks_where_the_terminal_knows_ascii_only(home):
    command = [sys.executable, "-m", "rdistill_helpers", "download", "roxford5k", "--root", str(home / "gone")]
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, env=environment, cwd=ROOT)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1 and b"is not there" in done.stderr


# --- Folders without rights


@pytest.fixture
def read_only():
    """A folder that can be read and not written, and no rights to do it all the same."""
    if os.name != "posix":
        pytest.skip("rights of folders are another matter on Windows")
    with tempfile.TemporaryDirectory(prefix="rdistill-") as name:
        folder = Path(name) / "locked"
        folder.mkdir()
        Path(name).chmod(0o755)

        @contextmanager
        def locked():
            folder.chmod(0o555)
            root = os.geteuid() == 0
            if root:  # may write everywhere, so it becomes nobody for a while
                try:
                    os.seteuid(65534)
                except OSError as error:
                    pytest.skip(f"the only user here may write everywhere ({error})")
            try:
                yield folder
            finally:
                if root:
                    os.seteuid(0)
                folder.chmod(0o755)

        yield folder, locked


def says_in_one_sentence(call, match, error=BadInput):
    with pytest.raises(error, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_data_folder_that_cannot_be_written_is_read(read_only):
    folder, locked = read_only
    for name in ("rooms.zip", "rooms.zip.sha256", "rooms_train_labels.csv"):
        shutil.copy(data_root() / name, folder / name)
    (folder / "networks").mkdir()
    (folder / "networks" / "net.pth").write_bytes(b"\x80content")
    codecs.lookup("cp437")  # of names in zip archives; nobody may not read Python's own files everywhere
    with locked(), pytest.MonkeyPatch.context() as patch:
        assert len(Benchmark.load("rooms", folder).images()[:1]) == 1
        assert len(TrainingImages.load("rooms", folder).draw(rooms=1)) > 1
        patch.setitem(sources.SOURCES, "net", [File("networks/net.pth", "http://127.0.0.1:9/net.pth")])
        assert download("net", folder, progress=False) == folder / "networks" / "net.pth"
        patch.setitem(sources.SOURCES, "other", [File("networks/other.pth", "http://127.0.0.1:9/other.pth")])
        says_in_one_sentence(
            lambda: download("other", folder, progress=False), "cannot be written .*ermission.*rights", DownloadFailed
        )


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (ask, "ledger .*ledger.sqlite cannot be"),
        (
            lambda folder: extract_to_file(Colours(), photos(), folder / "rows.npy", progress=False),
            r"rows\.npy\.part cannot",
        ),
        (lambda folder: save_descriptors(folder / "rows.npy", asked(photos())), r"rows\.npy cannot be written"),
        (lambda folder: save_network(RetrievalNet(weights=None), folder / "net"), "net cannot be written"),
        (train, r"student\.ckpt cannot be written"),
        (lambda folder: History().save(folder / "new" / "history.json"), r"history\.json cannot be written"),
        (lambda folder: write_scores([], folder / "scores.json"), r"scores\.json cannot be written"),
        (lambda folder: runs_root(folder / "runs"), "runs cannot be written"),
    ],
    ids=["ledger", "extraction", "descriptors", "network", "checkpoint", "history", "scores", "runs"],
)
def test_a_folder_without_rights_is_said(read_only, write, match):
    folder, locked = read_only
    with locked():
        says_in_one_sentence(lambda: write(folder), match)
    assert list(folder.iterdir()) == []


def test_a_ledger_that_cannot_be_written_says_so_and_keeps_what_it_has(read_only):
    folder, locked = read_only
    rows = ask(folder, photos()[:8])
    (folder / "ledger.sqlite").chmod(0o444)
    with locked():
        says_in_one_sentence(lambda: ask(folder), "ledger.sqlite cannot be used")
    (folder / "ledger.sqlite").chmod(0o644)
    assert torch.equal(ask(folder)[:8], rows)


# --- Full disks


class SmallDisk:
    """A folder that takes so many bytes: a disk of its own where one can be mounted, else a limit on the size of each file."""

    def __init__(self, folder, kilobytes):
        self.folder, self.mounted = folder, False
        folder.mkdir()
        size = f"size={kilobytes}k"
        if shutil.which("mount") and os.geteuid() == 0:
            mount = ["mount", "-t", "tmpfs", "-o", size, "small", str(folder)]
            self.mounted = subprocess.run(mount, capture_output=True).returncode == 0
        if not self.mounted:
            import resource

            self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, self.before[1]))

    def grow(self):
        """Space for everything, and what was written stays."""
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,size=64m", str(self.folder)], check=True)
        else:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, self.before)

    def remove(self):
        """Back to how it was."""
        if self.mounted:
            # Lazily: after a failed write PyTorch may keep its file open.
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        else:
            self.grow()


@pytest.fixture
def small_disk(tmp_path):
    if os.name != "posix":
        pytest.skip("no way to fill a disk here that would not fill the user's")
    disk = SmallDisk(tmp_path / "small", 64)
    yield disk
    disk.remove()


def test_a_full_disk_stops_an_extraction_that_then_goes_on(small_disk):
    images, net = photos(1000), Colours(64)
    write = lambda: extract_to_file(net, images, small_disk.folder / "rows.npy", "float32", at_once=50, progress=False)  # noqa: E731
    says_in_one_sentence(write, r"rows\.npy\.part cannot be written .*space on the disk")
    finished = int((small_disk.folder / "rows.npy.part.rows").read_text())
    assert 50 <= finished < 300
    small_disk.grow()
    rows = np.array(open_descriptors(write()))
    np.testing.assert_allclose(rows, extract(net, images, progress=False).numpy(), atol=1e-6)


def test_a_full_disk_loses_no_answer_of_the_teacher(small_disk):
    sent = []

    def embed(images):
        sent.extend(images)
        return F.normalize(images.float().mean(dim=2).flatten(1))

    def query():
        with BlackBoxTeacher(embed, 5000, small_disk.folder / "ledger", "colours", batch_size=50) as teacher:
            return teacher.query(images, progress=False)

    images = torch.randint(0, 256, (1000, 3, 4, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    says_in_one_sentence(query, "ledger .*(full|I/O)")
    once = len(sent)
    small_disk.grow()
    torch.testing.assert_close(query(), F.normalize(images.float().mean(dim=2).flatten(1)))
    assert 50 <= once < 1000 and len(sent) <= 1000 + 50  # what was on its way when the disk was full is asked again


def test_a_full_disk_of_a_served_teacher_charges_nothing_and_is_told_to_its_owner(small_disk, tmp_path):
    key, log = new_key(tmp_path / "keys.json", "anna", 5000), []
    images = torch.randint(0, 256, (1000, 3, 4, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def embed(images):
        return F.normalize(images.float().mean(dim=2).flatten(1))

    server = TeacherServer(embed, read_keys(tmp_path / "keys.json"), small_disk.folder, log=log.append)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        client = HttpTeacher(server.url, key)
        says_in_one_sentence(lambda: client(images), "HTTP 500 .*ask its owner", TeacherUnavailable)
        paid = client.account()["spent"]
        assert paid < 1000 and any("ledger-anna.sqlite cannot be used" in line for line in log)
        small_disk.grow()
        torch.testing.assert_close(client(images), embed(images))
        assert client.account()["spent"] == 1000
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (
            lambda folder: save_descriptors(folder / "rows.npy", F.normalize(torch.ones(3000, 64))),
            r"rows\.npy cannot be written",
        ),
        (lambda folder: save_network(RetrievalNet(weights=None), folder / "net"), "net cannot be written"),
        (lambda folder: train(folder, wide=20_000), r"student\.ckpt cannot be written"),
        (
            lambda folder: History(settings={"text": "x" * 100_000}).save(folder / "history.json"),
            r"history\.json cannot be written",
        ),
    ],
    ids=["descriptors", "network", "checkpoint", "history"],
)
def test_a_full_disk_is_said_and_leaves_no_half_file(small_disk, write, match):
    says_in_one_sentence(lambda: write(small_disk.folder), f"{match} .*space on the disk")
    assert list(small_disk.folder.iterdir()) == []
    small_disk.grow()
    write(small_disk.folder)
    assert len(list(small_disk.folder.iterdir())) == 1


def test_a_full_disk_stops_a_download_that_then_goes_on(small_disk, tmp_path, monkeypatch):
    content = b"\x80" + bytes(300_000)
    if not small_disk.mounted:
        pytest.skip("no small disk can be mounted here, and a download looks at the space on the disk")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "net.pth").write_bytes(content)
    monkeypatch.setitem(sources.SOURCES, "net", [File("net.pth", "http://127.0.0.1:9/net.pth")])

    def fetch():
        return download("net", small_disk.folder, mirrors=[tmp_path / "mirror"], progress=False)

    says_in_one_sentence(fetch, "needs .* GB in .* are free", DownloadFailed)
    small_disk.grow()
    assert fetch().read_bytes() == content
