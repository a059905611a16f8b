"""Downloads against a server on this machine that misbehaves in every way that real ones do."""

import gzip
import hashlib
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections import namedtuple
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image
from tiny_sets import write_ground_truth

from rdistill_helpers import Benchmark, download
from rdistill_helpers.__main__ import main
from rdistill_helpers.errors import BadInput, DataMissing, DownloadFailed, RDistillError
from rdistill_helpers.fetch import download as download_module
from rdistill_helpers.fetch import sources, transfer, unpack
from rdistill_helpers.fetch.sources import PUBLISHED, SOURCES, File

CONTENT = b"\x80" + bytes(i * i % 251 for i in range(200_000))
GNU_TAR = {"format": tarfile.GNU_FORMAT}


@dataclass
class Served:
    """A file of the server and how it misbehaves."""

    content: bytes = CONTENT
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    cuts: list[int] = field(default_factory=list)  # the next answers end after so many bytes
    always_cut: int | None = None
    hang: int | None = None  # send so many bytes, and then nothing for a long time
    ranges: bool = True
    piece: int | None = None  # at most so many bytes of the range asked for
    declared: int | None = None  # Content-Length, where it is not the truth
    chunked: bool = False
    status: list[int] = field(default_factory=list)  # the next answers are these errors
    location: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        path = self.path.lstrip("/")
        self.server.log.append((path, self.headers.get("Range"), self.headers.get("If-Range")))
        served = self.server.files.get(path)
        if served is None or served.status:
            self.send_error(served.status.pop(0) if served else 404)
            return
        if served.location:
            self.send_response(302)
            self.send_header("Location", served.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.answer(served)

    def answer(self, served):
        total, start = len(served.content), 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if_range = self.headers.get("If-Range")
        unchanged = if_range is None or if_range in served.headers.values()
        if asked and served.ranges and unchanged:
            start = int(asked[1])
            self.send_response(206 if start < total else 416)
            self.send_header(
                "Content-Range", f"bytes {start}-{total - 1}/{total}" if start < total else f"bytes */{total}"
            )
        else:
            self.send_response(200)
        body = served.content[start:][: served.piece if start else None]
        for name, value in served.headers.items():
            self.send_header(name, value)
        if served.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body) if served.declared is None else served.declared))
        self.end_headers()
        if served.hang is not None:
            self.wfile.write(body[: served.hang])
            self.server.stopping.wait(60)
            return
        cut = served.cuts.pop(0) if served.cuts else served.always_cut
        body = body if cut is None else body[:cut]
        self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body) + b"0\r\n\r\n" * (cut is None) if served.chunked else body)
        self.close_connection = cut is not None or served.declared is not None


@pytest.fixture
def site(monkeypatch):
    """A server whose files are all that `download` finds; `site.log` holds (path, Range, If-Range) of every request."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.log, server.stopping = {}, [], threading.Event()
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    here = {
        name: [replace(file, url=f"{server.address}/{file.path}", size=None) for file in files]
        for name, files in SOURCES.items()
    }
    monkeypatch.setattr(sources, "SOURCES", here)
    monkeypatch.setattr(sources, "SFM_IMAGES_URL", f"{server.address}/")
    archive = replace(sources.SFM_ARCHIVE, url=f"{server.address}/{sources.SFM_ARCHIVE.path}")
    monkeypatch.setattr(sources, "SFM_ARCHIVE", archive)
    monkeypatch.setattr(transfer, "PAUSE", 0)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield server
    server.stopping.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def root(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def net(site):
    """One plain file of known checksum, as published networks are: (its name here, what the server has)."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    file = sources.network_file(f"gl18/fake-gem-w-{digest[:7]}.pth")
    sources.SOURCES["fake-gem-w"] = [replace(file, url=f"{site.address}/{file.path}")]
    site.files[file.path] = Served()
    return file.path, site.files[file.path]


def tree(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def whole(folder: Path) -> set[str]:
    """What is there apart from beginnings that a later call goes on with."""
    assert not list(folder.rglob("*.unpacking")) and not list(folder.rglob("*.tmp"))
    return {path for path in tree(folder) if not path.endswith(".part")}


def fails(name, root, match, **settings) -> str:
    """The one-sentence error of a download."""
    with pytest.raises(DownloadFailed, match=match) as caught:
        download(name, root, progress=False, **settings)
    assert isinstance(caught.value, RDistillError) and "\n" not in str(caught.value)
    return str(caught.value)


def ranges(site, path) -> list[str | None]:
    return [asked for requested, asked, _ in site.log if requested == path]


# --- One file: resuming, checking, mirrors


def test_a_transfer_cut_once_is_completed_by_a_range_request(site, root, net):
    path, served = net
    served.cuts = [70_000]
    place = download("fake-gem-w", root, progress=False)
    assert place == root / path and place.read_bytes() == CONTENT
    assert site.log == [(path, None, None), (path, "bytes=70000-", '"1"')]
    assert tree(root) == {path, "downloads.lock.json"}


def test_a_transfer_cut_for_ever_is_an_error_and_a_later_call_goes_on(site, root, net):
    path, served = net
    served.always_cut = 30_000
    fails("fake-gem-w", root, r"networks/fake.*connection broke.*4 attempts.*call again")
    assert ranges(site, path) == [None, "bytes=30000-", "bytes=60000-", "bytes=90000-"]
    assert whole(root) == set() and (root / f"{path}.part").read_bytes() == CONTENT[:120_000]
    served.always_cut = None
    download("fake-gem-w", root, progress=False)
    assert ranges(site, path)[4:] == ["bytes=120000-"]
    assert (root / path).read_bytes() == CONTENT and tree(root) == {path, "downloads.lock.json"}


def test_a_server_that_ignores_ranges_sends_the_file_from_its_start(site, root, net):
    path, served = net
    served.cuts, served.ranges = [70_000], False
    download("fake-gem-w", root, progress=False)
    assert ranges(site, path) == [None, "bytes=70000-"] and (root / path).read_bytes() == CONTENT


def test_a_server_that_sends_less_than_the_range_is_asked_for_the_rest(site, root, net):
    path, served = net
    served.cuts, served.piece = [70_000], 50_000
    download("fake-gem-w", root, progress=False)
    assert ranges(site, path) == [None, "bytes=70000-", "bytes=120000-", "bytes=170000-"]
    assert (root / path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("headers", "if_range"),
    [
        ({"ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, '"1"'),
        ({"ETag": 'W/"1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, "Mon, 01 Jan 2024 00:00:00 GMT"),
        ({"ETag": 'W/"1"'}, None),
    ],
)
def test_a_range_is_bound_to_the_version_of_the_file(site, root, net, headers, if_range):
    path, served = net
    served.cuts, served.headers = [70_000], headers
    download("fake-gem-w", root, progress=False)
    assert site.log[1] == (path, "bytes=70000-", if_range)


@pytest.mark.parametrize("new_headers", [{"ETag": '"2"'}, {}])
def test_a_file_that_changed_meanwhile_is_fetched_anew(site, root, new_headers):
    path = sources.SOURCES["sfm120k"][0].path
    site.files[sources.SOURCES["sfm120k"][1].path] = Served(b"\x80second")
    site.files[path] = Served(b"\x80" + b"old" * 9000, {"ETag": '"1"'} if new_headers else {}, always_cut=5000)
    fails("sfm120k", root, "retrieval-SfM-120k.pkl.*connection broke")
    assert whole(root) == set()
    site.files[path] = Served(b"\x80" + b"new" * 10_000, new_headers)
    download("sfm120k", root, progress=False)
    assert (root / path).read_bytes() == b"\x80" + b"new" * 10_000


def test_bytes_of_two_addresses_are_never_joined(site, root):
    path = sources.SOURCES["sfm120k"][0].path
    site.files[sources.SOURCES["sfm120k"][1].path] = Served(b"\x80second")
    site.files[f"broken/{path}"] = Served(b"\x80" + b"a" * 50_000, always_cut=5000)
    site.files[path] = Served(b"\x80" + b"b" * 50_000)
    download("sfm120k", root, mirrors=[f"{site.address}/broken"], progress=False)
    assert (root / path).read_bytes() == b"\x80" + b"b" * 50_000


def test_a_whole_part_file_is_only_checked_and_put_in_place(site, root, net, monkeypatch):
    path, _ = net
    with monkeypatch.context() as killed:
        killed.setattr(hashlib, "file_digest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            download("fake-gem-w", root, progress=False)
    assert whole(root) == set()
    download("fake-gem-w", root, progress=False)
    assert ranges(site, path) == [None, "bytes=200001-"]
    assert (root / path).read_bytes() == CONTENT and tree(root) == {path, "downloads.lock.json"}


def test_a_changed_file_and_a_full_disk_leave_no_mixture(site, root, monkeypatch):
    first, second = (file.path for file in sources.SOURCES["sfm120k"])
    site.files[second] = Served(b"\x80second")
    site.files[first] = Served(b"\x80" + b"a" * 50_000, always_cut=5000)
    fails("sfm120k", root, "connection broke")
    site.files[first] = Served(b"\x80" + b"b" * 50_000, {"ETag": '"2"'})
    usage_of(monkeypatch, 10, 10**9)
    fails("sfm120k", root, "are free")
    download("sfm120k", root, progress=False)
    assert (root / first).read_bytes() == b"\x80" + b"b" * 50_000


def test_an_unreadable_note_on_a_part_file_means_to_start_again(site, root, net):
    path, served = net
    served.always_cut = 1000
    fails("fake-gem-w", root, "connection broke")
    served.always_cut = None
    (root / path).with_suffix(".pth.state.part").write_text("{")
    download("fake-gem-w", root, progress=False)
    assert ranges(site, path)[-1] is None and (root / path).read_bytes() == CONTENT


def test_an_overloaded_server_is_asked_again(site, root, net):
    path, served = net
    served.status = [503, 429]
    download("fake-gem-w", root, progress=False)
    assert len(site.log) == 3 and (root / path).read_bytes() == CONTENT


def test_wrong_bytes_against_the_known_checksum(site, root, net):
    _, served = net
    served.content = CONTENT[:-1] + b"!"
    fails("fake-gem-w", root, r"its SHA-256 [0-9a-f]{16}\.\.\. is not")
    assert tree(root) == set()


def test_wrong_bytes_against_the_record_say_what_to_do(site, root, net):
    path, served = net
    sources.SOURCES["fake-gem-w"] = [File(path, f"{site.address}/{path}")]  # nothing known beforehand
    download("fake-gem-w", root, progress=False)
    lock = json.loads((root / "downloads.lock.json").read_text())
    assert lock == {path: {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)}}
    (root / path).unlink()
    for content in (CONTENT[:-1] + b"!", CONTENT + b"!"):
        served.content = content
        fails("fake-gem-w", root, r"remove its entry from downloads\.lock\.json if the file was meant to change")
        assert tree(root) == {"downloads.lock.json"}
    assert json.loads((root / "downloads.lock.json").read_text()) == lock
    (root / "downloads.lock.json").unlink()
    download("fake-gem-w", root, progress=False)
    assert (root / path).read_bytes() == CONTENT + b"!"


def test_an_unreadable_record_is_said_before_anything_is_fetched(site, root, net):
    for text in ("{", "[]", '{"a": 1}', '{"a": {"sha256": "0"}}'):
        (root / "downloads.lock.json").write_text(text)
        with pytest.raises(BadInput, match=r"downloads\.lock\.json.*restore it, or delete it"):
            download("fake-gem-w", root, progress=False)
    assert site.log == []


def test_a_damaged_file_in_place_is_said_and_kept(site, root, net):
    path, _ = net
    (root / "networks").mkdir()
    (root / path).write_bytes(b"half of it")
    fails("fake-gem-w", root, "is there, but its SHA-256 .* delete it")
    sources.SOURCES["fake-gem-w"] = [File(path, f"{site.address}/{path}", size=20)]
    fails("fake-gem-w", root, "is there, but 10 bytes instead of 20: delete it")
    assert (root / path).read_bytes() == b"half of it" and site.log == []


@pytest.mark.parametrize("length", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_wrong_length_is_an_error(site, root, net, length):
    path, served = net
    sources.SOURCES["fake-gem-w"] = [File(path, f"{site.address}/{path}", size=length)]
    fails("fake-gem-w", root, f"200,001 bytes instead of {length:,}")
    served.chunked = True  # no length announced: only the bytes themselves tell
    fails("fake-gem-w", root, f"more than 200,000 bytes|200,001 bytes instead of {length:,}")
    assert whole(root) == set()


def test_a_content_length_beyond_the_file_is_an_error(site, root, net):
    _, served = net
    served.declared, served.ranges = len(CONTENT) + 10, False
    fails("fake-gem-w", root, "connection broke|ended after")
    assert whole(root) == set()


def test_a_content_length_short_of_the_file_is_an_error(site, root, net):
    _, served = net
    served.declared = 1000
    fails("fake-gem-w", root, "its SHA-256")
    assert tree(root) == set()


def test_a_file_without_announced_length_arrives_whole(site, root, net):
    path, served = net
    served.chunked, served.cuts = True, [70_000]
    download("fake-gem-w", root, progress=False)
    assert (root / path).read_bytes() == CONTENT


@pytest.mark.parametrize(("content", "match"), [(b"\n<!DOCTYPE html><p>Log in", "web page"), (b"", "it is empty")])
def test_a_page_or_nothing_in_place_of_a_file_is_refused(site, root, content, match):
    for file in sources.SOURCES["sfm120k"]:
        site.files[file.path] = Served(content)
    fails("sfm120k", root, match)
    assert tree(root) == set()


def test_redirects_are_followed_but_not_in_a_circle(site, root, net):
    path, _ = net
    site.files[f"old/{path}"] = Served(location=f"/{path}")
    download("fake-gem-w", root, mirrors=[f"{site.address}/old/"], progress=False)
    assert [requested for requested, *_ in site.log] == [f"old/{path}", path]
    (root / path).unlink()
    site.files[path] = Served(location=f"/{path}")
    fails("fake-gem-w", root, "redirects go round in a circle")
    assert whole(root) == {"downloads.lock.json"}


def test_mirrors_are_tried_in_order_before_the_official_address(site, root, net, tmp_path):
    path, served = net
    site.files[f"damaged/{path}"] = Served(CONTENT[:-1] + b"!")
    site.files[f"good/{path}"] = Served()
    mirrors = [
        tmp_path / "no_such_folder",
        "nonsense://x",
        *(f"{site.address}/{m}" for m in ("none", "damaged", "good")),
    ]
    download("fake-gem-w", root, mirrors=mirrors, progress=False)
    assert [requested for requested, *_ in site.log] == [f"{m}/{path}" for m in ("none", "damaged", "good")]
    assert (root / path).read_bytes() == CONTENT
    (root / path).unlink()
    download("fake-gem-w", root, mirrors=[f"{site.address}/none"], progress=False)
    assert site.log[-1][0] == path
    (root / path).unlink()
    served.status = [404] * 9
    message = fails("fake-gem-w", root, "could not be downloaded", mirrors=mirrors[:-1])
    assert all(reason in message for reason in ("no such file", "no usable address", "HTTP 404", "its SHA-256"))


def test_a_data_folder_is_a_mirror(site, root, net, tmp_path):
    path, _ = net
    (tmp_path / "other" / "networks").mkdir(parents=True)
    (tmp_path / "other" / path).write_bytes(CONTENT)
    download("fake-gem-w", root, mirrors=[str(tmp_path / "other")], progress=False)
    assert (root / path).read_bytes() == CONTENT and site.log == []
    assert (tmp_path / "other" / path).read_bytes() == CONTENT


def test_a_machine_without_network_gets_one_sentence(root, monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE", 0)
    fails("gl18-tl-resnet50-gem-w", root, "no connection")
    assert list(root.iterdir()) == []


def usage_of(monkeypatch, *free: int) -> None:
    """Say so much free space, one number for each question and the last one ever after."""
    answers = list(free)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, answers.pop(0) if len(answers) > 1 else answers[0]))


def test_a_full_disk_is_said_before_the_transfer(site, root, net, monkeypatch):
    path, served = net
    usage_of(monkeypatch, len(CONTENT) - 1)
    fails("fake-gem-w", root, r"needs 0\.00 GB in .*, where 0\.00 GB are free")
    assert whole(root) == set()
    usage_of(monkeypatch, len(CONTENT))
    served.cuts = [150_000]
    download("fake-gem-w", root, progress=False)
    assert (root / path).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written_is_said(site, root, net):
    (root / "networks").write_text("a file where the folder should be")
    fails("fake-gem-w", root, "cannot be written")


# --- The sets: archives, parts, what is in place


def photograph(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (colour, 0, 0)).save(buffer, "JPEG")
    return buffer.getvalue()


def tgz(members) -> bytes:
    """An archive of (name, bytes), or of entries of other kinds."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", **GNU_TAR) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


NAMES = [f"tower_{i:06d}" for i in range(12)]


@pytest.fixture
def truth(tmp_path) -> bytes:
    """Ground truth of two queries and ten database photographs."""
    gnd = [{"bbx": [5, 5, 25, 26], "easy": [0], "hard": [1], "junk": [2]}] * 2
    write_ground_truth(tmp_path / "gnd.pkl", NAMES[2:], NAMES[:2], gnd)
    return (tmp_path / "gnd.pkl").read_bytes()


@pytest.fixture
def paris(site, truth):
    """rparis6k in small, in two archives with sub-folders."""
    halves = [[(f"paris/a/{n}.jpg", photograph(i)) for i, n in enumerate(NAMES) if i % 2 == half] for half in (0, 1)]
    extras = [entry("paris", tarfile.DIRTYPE), ("paris/README.txt", b"x"), ("paris/._tower_000000.jpg", b"x")]
    site.files["rparis6k/gnd_rparis6k.pkl"] = Served(truth)
    site.files["rparis6k/paris_1-v1.tgz"] = Served(tgz([*extras, *halves[0]]))
    site.files["rparis6k/paris_2-v1.tgz"] = Served(tgz(halves[1]))
    return site


def test_oxford_arrives_and_loads(site, root, truth, capsys):
    site.files["roxford5k/gnd_roxford5k.pkl"] = Served(truth)
    archive = tgz([(f"{name}.jpg", photograph(i)) for i, name in enumerate(NAMES)])
    site.files["roxford5k/oxbuild_images-v1.tgz"] = Served(archive, cuts=[100])
    with pytest.raises(DataMissing):
        Benchmark.load("roxford5k", root)
    assert download("roxford5k", root) == root / "roxford5k"
    assert "roxford5k: downloaded to" in capsys.readouterr().out
    benchmark = Benchmark.load("roxford5k", root)
    assert benchmark.query(0).size == (20, 21) and benchmark.image(9).size == (40, 30)
    images = {f"roxford5k/jpg/{name}.jpg" for name in NAMES}
    assert tree(root) == images | {"roxford5k/gnd_roxford5k.pkl", "downloads.lock.json"}
    requests = len(site.log)
    assert download("roxford5k", root) == root / "roxford5k"
    assert "nothing to download" in capsys.readouterr().out and len(site.log) == requests


def test_both_archives_of_paris_end_flat_in_one_folder(paris, root, capsys):
    download("rparis6k", root, progress=False, keep=True)
    assert len(Benchmark.load("rparis6k", root).images()) == 10
    assert {p.name for p in (root / "rparis6k" / "jpg").iterdir()} == {f"{name}.jpg" for name in NAMES}
    assert {p.name for p in (root / "rparis6k").glob("*.tgz")} == {"paris_1-v1.tgz", "paris_2-v1.tgz"}
    assert set(json.loads((root / "downloads.lock.json").read_text())) == set(paris.files)
    assert capsys.readouterr() == ("", "")


def test_a_set_that_another_process_puts_in_place_meanwhile_is_taken_as_it_is(paris, root, monkeypatch):
    alone = download_module.alone

    @contextmanager
    def late(folder):
        monkeypatch.setattr(download_module, "alone", alone)
        download("rparis6k", root, progress=False)  # what the other one does
        with alone(folder):
            yield

    monkeypatch.setattr(download_module, "alone", late)
    download("rparis6k", root, progress=False)
    assert len(Benchmark.load("rparis6k", root).images()) == 10
    assert [ranges(paris, f"rparis6k/paris_{part}-v1.tgz") for part in (1, 2)] == [[None], [None]]  # each fetched once


BAD_ARCHIVES = {
    "parent": ([("a/../../evil.jpg", b"x")], "leads out"),
    "absolute": ([("/tmp/evil.jpg", b"x")], "leads out"),
    "drive": ([("C:evil.jpg", b"x")], "leads out"),
    "backslash": ([("..\\evil.jpg", b"x")], "leads out"),
    "symlink": ([entry("evil.jpg", tarfile.SYMTYPE, "/etc/passwd")], "not a plain file"),
    "folder_link": ([entry("a", tarfile.SYMTYPE, ".."), ("a/evil.jpg", b"x")], "not a plain file"),
    "hardlink": ([entry("evil.jpg", tarfile.LNKTYPE, "../../gnd_rparis6k.pkl")], "not a plain file"),
    "device": ([entry("evil.jpg", tarfile.CHRTYPE)], "not a plain file"),
    "pipe": ([entry("evil.jpg", tarfile.FIFOTYPE)], "not a plain file"),
    "twice": ([("a/evil.jpg", b"x"), ("b/evil.jpg", b"y")], "twice"),
    "twice_over_both": ([("b/tower_000000.jpg", b"y")], "twice"),
    "large_file": ([("evil.jpg", b"x" * 5001)], "larger"),
    "large_other_file": ([("evil.txt", b"x" * 5001)], "larger"),
    "large_total": ([(f"evil{i}.jpg", b"x" * 4000) for i in range(6)], "larger"),
    "many_files": ([(f"evil{i}.jpg", b"x") for i in range(21)], "more than 20 files"),
}


@pytest.mark.parametrize("kind", BAD_ARCHIVES)
def test_a_malicious_archive_leaves_nothing_behind(paris, root, tmp_path, monkeypatch, kind):
    members, match = BAD_ARCHIVES[kind]
    monkeypatch.setattr(unpack, "MAX_FILE_BYTES", 5000)
    monkeypatch.setattr(unpack, "MAX_TOTAL_BYTES", 20_000)
    monkeypatch.setattr(unpack, "MAX_FILES", 20)
    good = paris.files["rparis6k/paris_2-v1.tgz"]
    paris.files["rparis6k/paris_2-v1.tgz"] = Served(tgz([("odd.jpg", photograph(0)), *members]))
    fails("rparis6k", root, rf"paris_2-v1\.tgz was not unpacked and is deleted .*{match}")
    left = {
        "rparis6k/gnd_rparis6k.pkl",
        "rparis6k/paris_1-v1.tgz",
        "downloads.lock.json",
    }  # whole, and not fetched again
    assert tree(root) == left and not (root / "rparis6k" / "jpg").exists()
    assert not [path for path in tree(tmp_path) if "evil" in path] and not Path("/tmp/evil.jpg").exists()
    assert set(json.loads((root / "downloads.lock.json").read_text())) == {"rparis6k/gnd_rparis6k.pkl"}
    paris.files["rparis6k/paris_2-v1.tgz"] = good
    download("rparis6k", root, progress=False)
    assert ranges(paris, "rparis6k/paris_1-v1.tgz") == [None]
    assert len(Benchmark.load("rparis6k", root).images()) == 10


def test_an_archive_cut_anywhere_is_refused(tmp_path):
    content = tgz([(f"{name}.jpg", photograph(i)) for i, name in enumerate(NAMES)])
    archive = tmp_path / "a.tgz"
    for length in [*range(1, len(content), len(content) // 40), len(content) - 8, len(content) - 1]:
        archive.write_bytes(content[:length])
        with pytest.raises(DownloadFailed, match=r"a\.tgz was not unpacked"):
            unpack.unpack([archive], tmp_path / "jpg")
        assert tree(tmp_path) == set()
    archive.write_bytes(content[:-8] + b"\0" * 8)  # whole, but of another checksum
    with pytest.raises(DownloadFailed, match=r"a\.tgz was not unpacked"):
        unpack.unpack([archive], tmp_path / "jpg")
    padded = gzip.compress(gzip.decompress(content) + b"\0" * 3_000_000)  # its checksum far behind the last photograph
    archive.write_bytes(padded[:-8] + b"\0" * 8)
    with pytest.raises(DownloadFailed, match=r"a\.tgz was not unpacked"):
        unpack.unpack([archive], tmp_path / "jpg")
    archive.write_bytes(content)
    unpack.unpack([archive], tmp_path / "jpg")
    assert len(tree(tmp_path / "jpg")) == 12


def test_a_truncated_archive_is_not_recorded_and_is_fetched_again(paris, root):
    good = paris.files["rparis6k/paris_1-v1.tgz"].content
    paris.files["rparis6k/paris_1-v1.tgz"] = Served(good[: len(good) // 2])
    fails("rparis6k", root, "paris_1-v1.tgz was not unpacked")
    assert not (root / "rparis6k" / "jpg").exists() and not (root / "rparis6k" / "paris_1-v1.tgz").exists()
    paris.files["rparis6k/paris_1-v1.tgz"] = Served(good)
    download("rparis6k", root, progress=False)
    assert len(Benchmark.load("rparis6k", root).images()) == 10


def test_a_ground_truth_that_is_none_is_refused(paris, root):
    paris.files["rparis6k/gnd_rparis6k.pkl"] = Served(b"\x80 no pickle")
    fails("rparis6k", root, "not a readable pickle")
    assert tree(root) == set()


def test_photographs_that_the_ground_truth_names_must_be_in_the_archives(paris, root):
    paris.files["rparis6k/paris_2-v1.tgz"] = Served(tgz([("a/other.jpg", photograph(0))]))
    fails("rparis6k", root, r"6 photographs of rparis6k are not in its archives \(tower_000001, ")
    assert not (root / "rparis6k" / "jpg").exists()
    assert not [path for path in whole(root) if path.endswith(".jpg")]


def test_photographs_missing_in_a_folder_made_by_hand_are_named(paris, root):
    (root / "rparis6k" / "jpg").mkdir(parents=True)
    (root / "rparis6k" / "jpg" / "tower_000000.jpg").write_bytes(photograph(0))
    fails("rparis6k", root, r"11 photographs of rparis6k are not in .*jpg \(tower_000001, ")
    assert (root / "rparis6k" / "jpg" / "tower_000000.jpg").exists()


def test_what_a_killed_run_left_and_an_empty_folder_are_no_obstacle(paris, root):
    (root / "rparis6k" / "jpg").mkdir(parents=True)
    (root / "rparis6k" / "paris_1-v1.tgz.unpacking").mkdir()
    (root / "rparis6k" / "paris_1-v1.tgz.unpacking" / "half.jpg").write_bytes(b"x")
    download("rparis6k", root, progress=False)
    assert {p.name for p in (root / "rparis6k" / "jpg").iterdir()} == {f"{name}.jpg" for name in NAMES}


def test_a_disk_too_small_to_unpack_keeps_the_whole_archives(paris, root, monkeypatch):
    usage_of(monkeypatch, 10**9, 10**9, 10**9, 10)
    fails("rparis6k", root, r"Unpacking paris_1-v1\.tgz needs")
    assert not (root / "rparis6k" / "jpg").exists()
    usage_of(monkeypatch, 10**9)
    download("rparis6k", root, progress=False)
    assert len(paris.log) == 3 and len(Benchmark.load("rparis6k", root).images()) == 10
    size = len(paris.files["rparis6k/paris_1-v1.tgz"].content)
    shutil.rmtree(root / "rparis6k" / "jpg")
    usage_of(monkeypatch, 2 * size - 1)  # an archive must fit in beside what it holds
    fails("rparis6k", root, "Downloading rparis6k/paris_1")


def test_an_error_while_writing_photographs_leaves_none(paris, root, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(shutil, "copyfileobj", full)
        fails("rparis6k", root, "cannot be filled .*No space left")
    assert not (root / "rparis6k" / "jpg").exists()
    assert not [path for path in whole(root) if path.endswith(".jpg")]
    download("rparis6k", root, progress=False)


def test_shards_are_complete_or_absent(site, root, capsys):
    for i in (1, 2, 3):
        images = [(f"00{i}/{n}.jpg", photograph(k)) for k, n in enumerate(NAMES[:4])]
        site.files[f"revisitop1m/revisitop1m.{i}.tar.gz"] = Served(tgz(images))
    site.files["revisitop1m/revisitop1m.3.tar.gz"].content = b"no archive"
    fails("revisitop1m", root, "revisitop1m.3.tar.gz was not unpacked", parts=[2, 3, 1])
    jpg = root / "revisitop1m" / "jpg"
    assert tree(jpg) == {f"revisitop1m.2/002/{n}.jpg" for n in NAMES[:4]}
    assert [p.name for p in jpg.iterdir()] == ["revisitop1m.2"]
    assert download("revisitop1m", root, parts=["1", 2]) == jpg
    assert len(ranges(site, "revisitop1m/revisitop1m.2.tar.gz")) == 1 and len(tree(jpg)) == 8
    assert "downloaded" in capsys.readouterr().out
    download("revisitop1m", root, parts=[1, 2])
    assert "nothing to download" in capsys.readouterr().out
    fails("revisitop1m", root, "revisitop1m.3.tar.gz")  # all of them, in order
    assert whole(root / "revisitop1m") == {f"jpg/{path}" for path in tree(jpg)}


def test_lists_of_pairs_and_chosen_training_photographs(site, root, capsys):
    lists = [file.path for file in sources.SOURCES["sfm120k"]]
    for path in lists:
        site.files[path] = Served(b"\x80" + path.encode())
    assert download("sfm120k", root, progress=False) == root / "train"
    assert whole(root) == {*lists, "downloads.lock.json"}
    cids = [f"{i:02d}aabbccddee{i:02d}" for i in range(12)]
    images = [f"train/ims/{cid[-2:]}/ee/dd/{cid}" for cid in cids]
    for i, path in enumerate(images[:-1]):
        site.files[path] = Served(photograph(i))
    fails("sfm120k", root, r"ims\.tar\.gz.*HTTP 404", parts=cids)
    assert whole(root) == {*lists, *images[:-1], "downloads.lock.json"}  # what came is whole, and recorded
    assert {*lists, *images[:-1]} == set(json.loads((root / "downloads.lock.json").read_text()))
    site.files[images[-1]] = Served(photograph(11))
    before = len(site.log)
    download("sfm120k", root, parts=[*cids, cids[0]])
    assert len(site.log) == before + 1
    assert [(root / path).read_bytes() for path in images] == [photograph(i) for i in range(12)]
    capsys.readouterr()
    download("sfm120k", root, parts=cids)
    assert "nothing to download" in capsys.readouterr().out


# --- The one archive of training photographs

CIDS = [f"{i:02d}aabbccddee{i:02d}" for i in range(12)]
IMAGES = [f"train/ims/{cid[-2:]}/ee/dd/{cid}" for cid in CIDS]
ARCHIVE = "train/ims/ims.tar.gz"


@pytest.fixture
def training(site):
    """The lists, and the archive beside which no photograph is to be had singly."""
    for file in sources.SOURCES["sfm120k"]:
        site.files[file.path] = Served(b"\x80" + file.path.encode())
    folders = [entry(f"./{cid[-2:]}", tarfile.DIRTYPE) for cid in CIDS]
    photographs = [(path.replace("train/ims", "."), photograph(i)) for i, path in enumerate(IMAGES)]
    site.files[ARCHIVE] = Served(tgz([entry(".", tarfile.DIRTYPE), *folders, *photographs]))
    return site


def photographs_in(root: Path) -> set[str]:
    return {path for path in whole(root) if path.startswith("train/ims")}


def test_only_the_wanted_photographs_leave_the_archive(training, root, monkeypatch, capsys):
    written, copy = [], shutil.copyfileobj
    monkeypatch.setattr(
        shutil, "copyfileobj", lambda source, out, size: written.append(out.name) or copy(source, out, size)
    )
    training.files[ARCHIVE].cuts = [500]
    assert download("sfm120k", root, parts=[CIDS[7], CIDS[2], CIDS[7]]) == root / "train"
    assert "reading ims.tar.gz" in capsys.readouterr().err
    assert sorted(Path(name).name for name in written) == [CIDS[2], CIDS[7]]
    assert photographs_in(root) == {IMAGES[2], IMAGES[7]}
    assert [(root / IMAGES[i]).read_bytes() for i in (2, 7)] == [photograph(2), photograph(7)]
    assert ranges(training, ARCHIVE) == [None, "bytes=500-"]
    assert [path for path, *_ in training.log if path in IMAGES] == [IMAGES[7]]  # one is asked for, and refused
    assert ARCHIVE in json.loads((root / "downloads.lock.json").read_text())
    requests = len(training.log)
    download("sfm120k", root, parts=[CIDS[7], CIDS[2]])
    assert "nothing to download" in capsys.readouterr().out and len(training.log) == requests


def test_an_archive_that_is_there_is_used_where_it_is_and_stays(training, root, tmp_path):
    elsewhere = tmp_path / "ims.tar.gz"
    elsewhere.write_bytes(training.files.pop(ARCHIVE).content)
    (root / ARCHIVE).parent.mkdir(parents=True)
    (root / ARCHIVE).symlink_to(elsewhere)
    download("sfm120k", root, parts=CIDS[:2], progress=False)
    download("sfm120k", root, parts=CIDS[:3], progress=False)
    assert photographs_in(root) == {*IMAGES[:3], ARCHIVE}
    assert not [path for path, *_ in training.log if "ims" in path]


def test_keep_keeps_the_archive_for_more_photographs(training, root):
    download("sfm120k", root, parts=CIDS[:2], progress=False, keep=True)
    download("sfm120k", root, parts=CIDS[:4], progress=False)
    assert photographs_in(root) == {*IMAGES[:4], ARCHIVE} and len(ranges(training, ARCHIVE)) == 1


def test_an_archive_in_a_local_mirror_needs_no_network(training, root, tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    for path in [ARCHIVE, *(file.path for file in sources.SOURCES["sfm120k"])]:
        (mirror / path).parent.mkdir(parents=True, exist_ok=True)
        (mirror / path).write_bytes(training.files[path].content)
    monkeypatch.setattr(sources, "SFM_IMAGES_URL", "http://192.0.2.1/")
    download("sfm120k", root, parts=CIDS[:2], mirrors=[mirror], progress=False)
    assert photographs_in(root) == set(IMAGES[:2]) and training.log == []
    (mirror / IMAGES[5]).parent.mkdir(parents=True)
    (mirror / IMAGES[5]).write_bytes(photograph(5))  # a single photograph comes before the archive
    download("sfm120k", root, parts=[CIDS[5]], mirrors=[mirror], progress=False)
    assert IMAGES[5] in json.loads((root / "downloads.lock.json").read_text())


def test_a_broken_photograph_is_no_reason_to_fetch_the_archive(training, root):
    training.files[IMAGES[0]] = Served(photograph(0), always_cut=10)
    fails("sfm120k", root, "00aabbccddee00.*connection broke", parts=CIDS[:2])
    training.files[IMAGES[0]] = Served(b"<html>")
    fails("sfm120k", root, "00aabbccddee00.*web page", parts=CIDS[:2])
    assert ranges(training, ARCHIVE) == [] and photographs_in(root) == set()


def test_photographs_that_the_archive_lacks_are_named(training, root):
    message = fails("sfm120k", root, "2 photographs are not in", parts=[CIDS[3], "0123456789", "9876543210"])
    assert "0123456789, 9876543210" in message
    assert photographs_in(root) == {IMAGES[3]}


@pytest.mark.parametrize(
    "kind", ["parent", "absolute", "symlink", "folder_link", "hardlink", "device", "large_other_file"]
)
def test_a_malicious_archive_of_training_photographs_leaves_nothing_behind(training, root, tmp_path, monkeypatch, kind):
    members, match = BAD_ARCHIVES[kind]
    monkeypatch.setattr(unpack, "MAX_FILE_BYTES", 5000)
    good = training.files[ARCHIVE]
    training.files[ARCHIVE] = Served(tgz([(f"a/{CIDS[0]}", photograph(0)), *members]))
    fails("sfm120k", root, rf"ims\.tar\.gz was not unpacked and is deleted .*{match}", parts=CIDS[:1])
    assert photographs_in(root) == set() and not [path for path in tree(tmp_path) if "evil" in path]
    assert ARCHIVE not in json.loads((root / "downloads.lock.json").read_text())
    training.files[ARCHIVE] = good
    download("sfm120k", root, parts=CIDS[:1], progress=False)
    assert photographs_in(root) == {IMAGES[0]}


def test_bounds_hold_for_what_is_picked_and_a_photograph_is_there_once(training, root, monkeypatch):
    good = training.files[ARCHIVE].content
    training.files[ARCHIVE] = Served(tgz([(f"{folder}/{CIDS[0]}", b"x") for folder in "ab"]))
    fails("sfm120k", root, "holds 00aabbccddee00 twice", parts=CIDS[:1])
    training.files[ARCHIVE] = Served(good[: len(good) // 2])
    fails("sfm120k", root, "was not unpacked", parts=CIDS[:1])
    training.files[ARCHIVE] = Served(good)
    monkeypatch.setattr(unpack, "MAX_TOTAL_BYTES", 2 * len(photograph(0)) + 50)
    fails("sfm120k", root, "larger", parts=CIDS[:6])
    assert photographs_in(root) == set()
    download("sfm120k", root, parts=CIDS[:2], progress=False)  # what is left out does not count
    monkeypatch.setattr(unpack, "MAX_FILES", 20)
    fails("sfm120k", root, "more than 20 files", parts=CIDS[:3])
    assert photographs_in(root) == set(IMAGES[:2])


def test_an_interrupt_while_picking_leaves_no_photograph(training, root, monkeypatch):
    with monkeypatch.context() as stopped:
        stopped.setattr(shutil, "copyfileobj", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            download("sfm120k", root, parts=CIDS[:2], progress=False)
    assert photographs_in(root) == {ARCHIVE}  # whole, and not fetched again
    download("sfm120k", root, parts=CIDS[:2], progress=False)
    assert photographs_in(root) >= set(IMAGES[:2]) and ranges(training, ARCHIVE) == [None]


def test_picking_needs_space_for_the_archive_alone(training, root, monkeypatch):
    size = len(training.files[ARCHIVE].content)
    usage_of(monkeypatch, size - 1)
    fails("sfm120k", root, r"Downloading train/ims/ims\.tar\.gz needs", parts=CIDS[:1])
    usage_of(monkeypatch, size)
    download("sfm120k", root, parts=CIDS[:1], progress=False)
    assert photographs_in(root) == {IMAGES[0]}


def test_command_line_picks_photographs(training, root, capsys):
    assert main(["download", "sfm120k", "--root", str(root), "--parts", *CIDS[4:6]]) == 0
    assert "sfm120k: downloaded to" in capsys.readouterr().out
    assert photographs_in(root) == set(IMAGES[4:6])


def test_names_and_parts_that_do_not_exist_are_refused(site, root):
    wrong = [("oxford", None, "'oxford' cannot"), ("roxford5k", [1], "parts"), ("revisitop1m", "12", "give a list")]
    wrong += [("revisitop1m", [part], "does not exist") for part in (0, 101, -1, "x", 1.5, "01", "1\n")]
    wrong += [("sfm120k", [part], "does not exist") for part in ("../../../x", "abc", "a/bcdefg", 7)]
    for name, parts, match in wrong:
        with pytest.raises(BadInput, match=match):
            download(name, root, parts=parts, progress=False)
    with pytest.raises(DataMissing, match="nowhere"):
        download("roxford5k", root / "nowhere", progress=False)
    assert site.log == [] and tree(root) == set()


def test_published_networks_are_looked_for_where_they_land():
    for name, place in PUBLISHED.items():
        (file,) = SOURCES[name]
        assert file.path == f"networks/{Path(place).name}" and file.url.endswith(place)
        assert re.fullmatch(r"[0-9a-f]{7}", file.sha256) and Path(place).stem.endswith(f"-{file.sha256}")
    paths = [file.path for files in SOURCES.values() for file in files]
    assert len(paths) == len(set(paths)) == 2 + 3 + 100 + 2 + len(PUBLISHED)


# --- The shell command


@pytest.mark.slow
def test_command_line_downloads_and_says_so(paris, root, capsys):
    run = [
        sys.executable,
        "-m",
        "rdistill_helpers",
        "download",
        "rparis6k",
        "--root",
        str(root),
        "--mirror",
        paris.address,
    ]
    done = subprocess.run(run, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("rparis6k: downloaded to") and "paris_2-v1.tgz" in done.stderr
    assert len(Benchmark.load("rparis6k", root).images()) == 10
    assert main(run[3:7]) == 0
    assert "nothing to download" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_an_interrupt_in_the_middle_of_a_transfer_is_one_line_and_the_next_call_goes_on(site, root):
    first, second = (file.path for file in sources.SOURCES["sfm120k"])
    site.files[first], site.files[second] = Served(hang=70_000), Served(b"\x80second")
    run = [sys.executable, "-m", "rdistill_helpers", "download", "sfm120k", "--root", str(root)]
    run += ["--mirror", site.address]
    started = subprocess.Popen(
        run,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        # What runs in the background of a shell ignores the signal, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    part = root / f"{first}.part"
    for _ in range(600):
        if part.is_file() and part.stat().st_size:
            break
        time.sleep(0.1)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130 and out == ""
    assert err.splitlines()[-1].startswith("Interrupted") and "Traceback" not in err
    arrived = part.stat().st_size
    assert whole(root) == set() and 0 < arrived <= 70_000 and part.read_bytes() == CONTENT[:arrived]
    site.files[first].hang = None
    done = subprocess.run(run, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert ranges(site, first) == [None, f"bytes={arrived}-"] and (root / first).read_bytes() == CONTENT
    assert tree(root) == {first, second, "downloads.lock.json"}


@pytest.mark.slow
def test_command_line_ends_with_one_line_and_status_1(root):
    run = [sys.executable, "-m", "rdistill_helpers", "download", "oxford", "--root", str(root)]
    done = subprocess.run(run, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("'oxford' cannot be downloaded: choose one of")


def test_command_line_passes_parts_mirrors_and_keep(site, root, monkeypatch, capsys):
    site.files["m/revisitop1m/revisitop1m.7.tar.gz"] = Served(tgz([("a.jpg", photograph(0))]))
    arguments = [
        "download",
        "revisitop1m",
        "--root",
        str(root),
        "--parts",
        "7",
        "--mirror",
        f"{site.address}/m",
        "--keep",
    ]
    assert main(arguments) == 0
    assert tree(root / "revisitop1m") == {"jpg/revisitop1m.7/a.jpg", "revisitop1m.7.tar.gz"}
    arguments[5] = "8"
    assert main(arguments) == 1
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith("revisitop1m/revisitop1m.8.tar.gz could not be downloaded")
    )
    monkeypatch.setattr("rdistill_helpers.__main__.download", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(arguments) == 130
