"""Files of others: damaged, lying or made to harm, they are refused in one sentence, and nothing of them is run or unfolded."""

import gzip
import io
import json
import pickle
import sqlite3
import struct
import tarfile
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from rdistill_course.closing_table import read_scores
from rdistill_helpers import (
    BadInput,
    Benchmark,
    BlackBoxTeacher,
    DataMissing,
    DownloadFailed,
    History,
    RDistillError,
    SfMImages,
    distill,
    load_network,
    load_published,
    open_descriptors,
)
from rdistill_helpers.data import rooms
from rdistill_helpers.data.ground_truth import check_ground_truth, read_ground_truth
from rdistill_helpers.data.images import read_image
from rdistill_helpers.data.paths import name_problem
from rdistill_helpers.data.pickles import read_plain_pickle
from rdistill_helpers.errors import shown
from rdistill_helpers.fetch import transfer, unpack
from rdistill_helpers.files import refuse_packed
from reliability.hostile_inputs import readers
from reliability.hostile_inputs.attack import attack
from reliability.hostile_inputs.making import Reader

READERS = {
    "ground truth (pickle)", "ground truth (JSON)", "training list (pickle)", "photograph", "descriptor file",
    "unfinished descriptor file", "array", "network (safetensors)", "checkpoint (published)", "checkpoint (training)",
    "ledger", "archive (tar.gz)", "archive (zip)", "history (JSON)", "scores (JSON)", "answers of a server",
    "folder of photographs", "keys of a served teacher (JSON)", "request to a served teacher", "answers of a served teacher",
    "index of photographs",
}  # fmt: skip
SOUND = "photograph with damaged EXIF"
ENTRY = {"bbx": [1.0, 2.0, 5.0, 6.0], "easy": [0], "hard": [], "junk": []}
GND = {"imlist": ["a"], "qimlist": ["q"], "gnd": [ENTRY]}


# --- Every reader against a few hundred inputs; `make torture` takes a hundred thousand


def test_all_readers_are_attacked():
    assert set(readers()) == READERS | {SOUND}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(READERS))
def test_damaged_and_lying_files_are_read_or_refused_in_one_sentence(name):
    tried, refused = attack(readers()[name], 200, start=0)
    assert tried >= 200 and 20 < refused <= tried


@pytest.mark.slow
def test_damaged_exif_never_hides_a_sound_photograph():
    assert attack(readers()[SOUND], 200, start=0)[1] == 0


def test_the_attack_notices_crashes_long_messages_and_files_outside():
    def refuses(message):
        def read(content, folder):
            error = BadInput("")
            error.args = (message,)
            raise error

        return read

    for read in (
        lambda content, folder: content[99],
        lambda content, folder: (folder.parent / "out").write_bytes(content),
        refuses("two\nlines"),
        refuses("long" * 1000),
        refuses(""),
    ):
        with pytest.raises((IndexError, AssertionError)):
            attack(Reader(st.binary(max_size=9), read, 1), 5, start=0)


# --- Errors


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_an_error_is_one_line_that_can_be_printed_whatever_it_names(text):
    for kind in (BadInput, DataMissing, DownloadFailed):
        message = str(kind(f"The file {text} is broken: get it again."))
        assert message.isprintable() and len(message) <= 1020 and message.encode()
    assert str(BadInput("The file ü 学生.jpg is broken.")) == "The file ü 学生.jpg is broken."


def test_an_error_keeps_the_beginning_and_the_end_of_a_long_message():
    message = str(BadInput("The file " + "x" * 5000 + " is broken: get it again."))
    assert message.startswith("The file xx") and message.endswith("xx is broken: get it again.") and len(message) < 1020


def test_values_are_shown_short_even_when_python_would_not_print_them():
    nested = "x"
    for _ in range(60):
        nested = [nested] * 10
    for value in (10**6000, nested, "y" * 10**6, np.zeros(5)):
        assert len(shown(value)) < 2000
    assert shown("a\nb") == "'a\\nb'" and shown(5) == "5"


# --- Pickles and checkpoints that carry code


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Filled:
    """Pickles as an object of NumPy's with a state that NumPy would not write."""

    def __init__(self, function, arguments, state):
        self.reduced = function, arguments, state

    def __reduce__(self):
        return self.reduced


RECONSTRUCT = np.zeros(0).__reduce__()[0]
SCALAR = np.float64(0).__reduce__()[0]
# An array of objects whose type denies it: NumPy would follow its bytes as addresses.
DENYING = Filled(np.dtype, ("O", False, True), (3, "|", None, None, None, -1, -1, 0))
HARMFUL = {
    "objects that deny it": Filled(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (1,), DENYING, False, b"\x41" * 8)),
    "an address as a number": Call(SCALAR, DENYING, b"\x41" * 8),
    "flags of objects on numbers": Filled(
        RECONSTRUCT,
        (np.ndarray, (0,), b"b"),
        (1, (1,), Filled(np.dtype, ("f8", False, True), (3, "<", None, None, None, -1, -1, 63)), False, b"\x41" * 8),
    ),
    "an array that would fill the memory": Call(np.ndarray, (10**12,)),
    "a shape beyond the bytes": Filled(
        RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (10**9,), np.dtype("f8"), False, b"\0" * 8)
    ),
}


@pytest.mark.parametrize("harm", HARMFUL)
@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_that_would_reach_into_memory_are_refused_in_pickles(harm, protocol):
    if harm.startswith("flags"):  # these flags are ignored, the numbers read
        read = read_plain_pickle(io.BytesIO(pickle.dumps(HARMFUL[harm], protocol)), "x")
        assert read.dtype.flags == np.dtype("f8").flags and read.shape == (1,)
        return
    with pytest.raises(BadInput, match="x was refused|x is not a readable pickle"):
        read_plain_pickle(io.BytesIO(pickle.dumps(HARMFUL[harm], protocol)), "x")


@pytest.mark.parametrize("harm", [name for name in HARMFUL if not name.startswith("flags")])
@pytest.mark.parametrize("zipped", [False, True])
def test_arrays_that_would_reach_into_memory_are_refused_in_checkpoints(tmp_path, harm, zipped):
    path = tmp_path / "net.pth"
    torch.save({"meta": HARMFUL[harm], "state_dict": {}}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BadInput, match=r"net\.pth"):
        load_published(path)


def test_a_list_that_holds_itself_many_times_costs_nothing(tmp_path):
    nested = ["x"]
    for _ in range(60):
        nested = [nested, nested]
    folder = tmp_path / "train" / "dbs"
    folder.mkdir(parents=True)
    split = {"cids": [nested], "cluster": [0], "qidxs": [0], "pidxs": [0]}
    (folder / "retrieval-SfM-120k.pkl").write_bytes(pickle.dumps({"train": split}))
    with pytest.raises(BadInput, match="is not the id of a photograph"):
        SfMImages.load("train", tmp_path)
    torch.save({"meta": nested, "state_dict": {}}, tmp_path / "net.pth")
    with pytest.raises(BadInput, match="not a cirtorch checkpoint"):
        load_published(tmp_path / "net.pth")


def test_a_training_checkpoint_with_code_is_refused_and_not_run(tmp_path):
    images = torch.zeros(6, 3, 4, 4, dtype=torch.uint8)
    rows = F.normalize(torch.arange(1.0, 13.0).view(6, 2))
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    torch.save({"history": Call((tmp_path / "ran").touch)}, tmp_path / "ckpt")
    with pytest.raises(BadInput, match=r"ckpt cannot be read: delete it"):
        distill(student, images, rows, anchors=1, neighbours=1, checkpoint=tmp_path / "ckpt")
    assert not (tmp_path / "ran").exists()


# --- What unfolds to more than it is


def test_a_checkpoint_that_is_compressed_or_counts_wrongly_is_refused_before_it_unfolds(tmp_path):
    torch.save({"w": torch.zeros(1_000_000)}, tmp_path / "stored.pth")
    refuse_packed(tmp_path / "stored.pth")
    stored = zipfile.ZipFile(tmp_path / "stored.pth")
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in stored.namelist():
            bomb.writestr(name, stored.read(name))
    assert (tmp_path / "bomb.pth").stat().st_size < 20_000
    with pytest.raises(BadInput, match=r"bomb\.pth is compressed"):
        load_published(tmp_path / "bomb.pth")


def test_tensors_larger_than_what_is_stored_of_them_are_refused(tmp_path):
    views = {"whiten.weight": torch.ones(1).expand(10**6, 10**6)}
    meta = {"architecture": "squeezenet1_1", "pooling": "gem", "whitening": True, "mean": [0.5] * 3, "std": [0.5] * 3}
    torch.save({"meta": meta, "state_dict": views}, tmp_path / "net.pth")
    with pytest.raises(BadInput, match="larger than what is stored"):
        load_published(tmp_path / "net.pth")


def small_tar(*members):
    """A .tar.gz of (TarInfo or name, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def refused(tmp_path, packed):
    """Why an archive is refused; that nothing was written and the archive deleted is checked."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tar.gz").write_bytes(packed)
    with pytest.raises(DownloadFailed, match=r"a\.tar\.gz was not unpacked and is deleted") as caught:
        unpack.unpack([tmp_path / "in" / "a.tar.gz"], tmp_path / "in" / "jpg")
    assert list((tmp_path / "in").iterdir()) == [] and list(tmp_path.iterdir()) == [tmp_path / "in"]
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../out.jpg", "leads out"),
        ("/tmp/out.jpg", "leads out"),
        ("x\\..\\out.jpg", "leads out"),
        ("C:out.jpg", "leads out"),
        ("two\nlines.jpg", "cannot be opened on Windows"),
        ("con.jpg", "cannot be opened on Windows"),
        ("n" * 300 + ".jpg", "too long"),
        ("d/" * 200 + "deep.jpg", "too long"),
        ("d/" * 1500 + "deeper.jpg", "too long"),
    ],
)
def test_names_in_archives_that_are_none_are_refused(tmp_path, name, reason):
    assert reason in refused(tmp_path, small_tar(("good.jpg", b"x"), (name, b"x")))


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    assert "twice" in refused(tmp_path, small_tar(("a.jpg", b"x"), ("a.jpg/b.jpg", b"x")))


def test_a_note_in_an_archive_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    note = tarfile.TarInfo("././@LongLink")
    note.type = tarfile.GNUTYPE_LONGNAME
    monkeypatch.setattr(unpack, "MAX_NOTE_BYTES", 2000)
    assert "a note on one of its files" in refused(tmp_path, small_tar((note, b"n" * 3000), ("a.jpg", b"x")))
    (tmp_path / "in").rmdir()
    note.type = tarfile.XHDTYPE
    assert "a note on one of its files" in refused(tmp_path, small_tar((note, b"n" * 3000), ("a.jpg", b"x")))


def test_an_archive_cut_in_the_middle_of_a_note_is_refused(tmp_path):
    plain = gzip.decompress(small_tar(("n" * 150 + ".jpg", b"x" * 100)))
    refused(tmp_path, gzip.compress(plain[:700]))


def test_a_file_in_the_rooms_archive_that_would_unfold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(rooms, "MAX_MEMBER_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small", b"0" * 1000)
        archive.writestr("large", b"0" * 1001)
    assert rooms.read_member(tmp_path / "a.zip", "small") == b"0" * 1000
    with pytest.raises(BadInput, match="large in .* is larger than its files are"):
        rooms.read_member(tmp_path / "a.zip", "large")


def bomb(width, height):
    """A grey PNG of this size, all black; a thousandth of its pixels in bytes."""
    packer = zlib.compressobj(9)
    line = bytes(width + 1)
    content = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(10_001, 10_000), (20_000, 20_000)])
def test_a_decompression_bomb_is_refused_before_it_unfolds(size, monkeypatch):
    Image.init()  # Pillow's formats load pictures of their own when they are imported
    monkeypatch.setattr(Image.Image, "load", lambda image: pytest.fail("it was unfolded"))
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(BadInput, match=r"bomb\.png cannot be read as an image"),
    ):
        read_image(bomb(*size)[:4000], "bomb.png")


def test_a_picture_that_other_programs_would_draw_is_refused():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "EPS")
    with pytest.raises(BadInput, match="a drawing"):
        read_image(buffer.getvalue(), "script.jpg")


# --- Names


@pytest.mark.parametrize(
    "name",
    [
        "../a",
        "a/../../b",
        "/a",
        "\\a",
        "\\\\host\\share\\a",
        "a\\..\\b",
        "nul\0",
        "\ud800",
        "n" * 256,
    ]
    + ["é" * 128, "d/" * 31 + "a"],
)
def test_names_that_no_system_should_open_are_refused_everywhere(tmp_path, name):
    assert name_problem(name)
    for gnd in ({**GND, "imlist": [name]}, {**GND, "qimlist": [name]}):
        with pytest.raises(BadInput, match="g: [iq].*list names an image .*, which (leads|holds|is too)"):
            check_ground_truth(gnd, "g")
    (tmp_path / "gnd.pkl").write_bytes(pickle.dumps(GND))
    for photograph in ("a.jpg", "q.jpg"):
        (tmp_path / photograph).touch()
    with pytest.raises(DataMissing, match="is not there"):
        Benchmark.from_pickle(tmp_path / "gnd.pkl", images=tmp_path).read(name)


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "all_souls_000013",
        "place/photo 1.jpg",
        "ü 学生.jpg",
        "a..b.jpg",
        "n" * 255,
        "10:30.jpg",
        "console.jpg",
        "a.con",
    ],
)
def test_names_that_photographs_have_are_taken(name):
    assert name_problem(name) is None
    assert check_ground_truth({**GND, "imlist": [name]}, "g")["imlist"] == [name]


# --- Numbers and headers that lie


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**6000], ids=["large", "small", "unprintable"])
def test_numbers_beyond_all_bounds_are_refused(value):
    for entry in ({**ENTRY, "easy": [value]}, {**ENTRY, "bbx": [0, 0, 5, value]}):
        with pytest.raises(BadInput, match="g, query 0"):
            check_ground_truth({**GND, "gnd": [entry]}, "g")


def test_an_array_without_dimensions_is_no_list():
    with pytest.raises(BadInput, match="easy must be a list"):
        check_ground_truth({**GND, "gnd": [{**ENTRY, "easy": np.array(0)}]}, "g")


@pytest.mark.parametrize("key", ["cluster", "qidxs"])
def test_a_position_too_large_for_any_list_is_refused(tmp_path, key):
    split = {"cids": ["abcdef1"], "cluster": [0], "qidxs": [0], "pidxs": [0], key: [2**64]}
    (tmp_path / "train" / "dbs").mkdir(parents=True)
    (tmp_path / "train" / "dbs" / "retrieval-SfM-120k.pkl").write_bytes(pickle.dumps({"train": split}))
    with pytest.raises(BadInput, match=f"{key} holds a number that is too large"):
        SfMImages.load("train", tmp_path)


@pytest.mark.parametrize("read", [History.load, read_scores, transfer.read_lock, Benchmark.from_folder])
def test_json_nested_beyond_all_depth_is_refused(tmp_path, read):
    for name in ("downloads.lock.json", "gnd.json", "file"):
        (tmp_path / name).write_text("[" * 200_000)
    with pytest.raises(BadInput):
        read(tmp_path if read in (transfer.read_lock, Benchmark.from_folder) else tmp_path / "file")


@pytest.mark.parametrize(
    "change",
    [
        {"dim": 10**12}, {"channels": 10**12}, {"dim": "5"}, {"dim": True}, {"scale": 1e9}, {"scale": "1"}, {"backbone": [1]},
        {"pooling": {}}, {"mean": 5}, {"mean": ["a"]}, {"std": [[1]]},
    ],
)  # fmt: skip
def test_a_network_file_that_lies_about_itself_is_refused(tmp_path, change):
    header = {"backbone": "squeezenet1_1", "pooling": "gem", "dim": None, "mean": [0.5] * 3, "std": [1] * 3, "scale": 1}
    content = save({"w": torch.ones(1)}, {name: json.dumps(value) for name, value in {**header, **change}.items()})
    (tmp_path / "net.safetensors").write_bytes(content)
    with pytest.raises(BadInput, match=r"does not fit its own description, \w+ cannot be"):
        load_network(tmp_path / "net.safetensors")


@pytest.mark.parametrize("length", [2**40, 2**64 - 1, 0])
def test_a_header_longer_than_its_file_is_refused(tmp_path, length):
    (tmp_path / "net.safetensors").write_bytes(length.to_bytes(8, "little") + save({"w": torch.ones(1)})[8:])
    with pytest.raises(BadInput, match="not a whole safetensors file"):
        load_network(tmp_path / "net.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 512)}",
        "{[]: 1}",
        "(" * 3000,
        "{'descr': '|O'}",
        "\xff",
    ],
)
def test_an_array_file_whose_header_lies_is_refused(tmp_path, header):
    packed = header.encode("latin1")
    (tmp_path / "rows.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(packed).to_bytes(2, "little") + packed + bytes(64))
    with pytest.raises(BadInput, match=r"rows\.npy is no whole \.npy file"):
        open_descriptors(tmp_path / "rows.npy")


@pytest.mark.parametrize(
    "content",
    [
        {"step": 5, "loss": [], "lr": [], "seconds": [], "settings": {}},
        {"step": [0], "loss": [], "lr": [], "seconds": [], "settings": {}},
        {"step": ["a"], "loss": ["b"], "lr": ["c"], "seconds": ["d"], "settings": {}},
        {"step": [], "loss": [], "lr": [], "seconds": [], "settings": []},
    ],
)
def test_a_history_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "history.json").write_text(json.dumps(content))
    with pytest.raises(BadInput, match="is no saved history"):
        History.load(tmp_path / "history.json")
    with pytest.raises(DataMissing, match="There is no history at"):
        History.load(tmp_path / "gone.json")


# --- Ledgers of others


def colours(images):
    return F.normalize(images.float().mean(dim=(2, 3)))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE paid SET row = x'0000c07f0000c07f0000c07f'",  # NaN
        "UPDATE paid SET row = zeroblob(12)",
        "UPDATE paid SET row = 'text'",
        "UPDATE paid SET row = x'00'",
        "UPDATE teacher SET dim = 'many'",
        "DELETE FROM teacher",
        "CREATE TRIGGER t AFTER INSERT ON paid BEGIN DELETE FROM paid; END",
        "CREATE VIEW v AS SELECT * FROM paid",
    ],
)
def test_a_ledger_that_lies_is_refused_and_nothing_is_paid(tmp_path, statement):
    images = torch.arange(5 * 36, dtype=torch.uint8).view(5, 3, 3, 4)
    path = tmp_path / "ledger"
    with BlackBoxTeacher(colours, 5, path, "colours") as teacher:
        teacher.query(images[:4], progress=False)
    database = sqlite3.connect(path)
    database.execute(statement)
    database.commit()
    before = list(database.execute("SELECT * FROM paid"))
    database.close()
    with pytest.raises(BadInput, match="is damaged"), BlackBoxTeacher(colours, 5, path, "colours") as teacher:
        teacher.query(images[:4], progress=False)
    database = sqlite3.connect(path)
    assert list(database.execute("SELECT * FROM paid")) == before
    database.close()


# --- Servers that lie


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, {"Content-Length": "9" * 5000}),
        (200, {"Content-Length": "²"}),
        (206, {"Content-Range": f"bytes 0-5/{'9' * 5000}"}),
        (206, {"Content-Range": "bytes ٣-5/6"}),
    ],
)
def test_lengths_that_are_none_count_as_unknown(status, headers):
    class Answer:
        status_code = status

    Answer.headers = headers
    assert transfer.start_and_total(Answer())[1] is None


def test_every_error_is_one_of_the_package():
    assert issubclass(DownloadFailed, RDistillError) and issubclass(BadInput, ValueError)
    with pytest.raises(BadInput, match="is not a readable pickle"):
        read_ground_truth(io.BytesIO(b"\x80\x04]" + b"(" * 10_000 + b"."))


def test_an_archive_that_claims_to_span_several_disks_is_refused(tmp_path):
    """Python raises an error of its own for it while it only asks whether the file is an archive."""
    locator, end = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 2), struct.pack("<4s4H2LH", b"PK\x05\x06", *[0] * 7)
    path = tmp_path / "weights.pth"
    path.write_bytes(bytes(40) + locator + end)
    with pytest.raises(BadInput, match=r"weights\.pth is no whole file of weights"):
        refuse_packed(path)
