"""A served teacher over loopback: nobody pays twice or too much, whatever happens to a request on its way."""

import io
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import requests
import torch
import torch.nn.functional as F
from PIL import Image

from rdistill_helpers import BadInput, BlackBoxTeacher, BudgetExceeded, DataMissing, HttpTeacher, TeacherUnavailable
from rdistill_helpers.__main__ import main
from rdistill_helpers.embed import http_teacher
from rdistill_helpers.embed.network import RetrievalNet, save_network
from rdistill_helpers.embed.serve_teacher import TeacherServer
from rdistill_helpers.embed.teacher_keys import new_key, owner_of, read_keys
from rdistill_helpers.embed.teacher_wire import IMAGES, digest, packed, unpacked
from reliability.proxy import FAULTS, PASSED, FaultyProxy

ROOT = Path(__file__).resolve().parents[1]
QUICK = {"pause": 0.001, "longest_pause": 0.01, "seed": 0, "progress": False, "timeout": (5, 5)}


def photos(count, seed=0):
    return torch.randint(0, 256, (count, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def described(images):
    return F.normalize(images.float().mean(dim=(2, 3)))


class Asked:
    """A teacher that counts the images it described."""

    def __init__(self):
        self.images = 0

    def __call__(self, images):
        self.images += len(images)
        return described(images)


class Served:
    """A server in a thread, with what a test wants to know of it."""

    def __init__(self, folder, budget, embed, settings):
        self.asked, self.log = embed or Asked(), []
        self.key = new_key(folder / "keys.json", "anna", budget)
        self.other = new_key(folder / "keys.json", "bert", budget)
        self.ledger = folder / "ledger-anna.sqlite"
        keys = read_keys(folder / "keys.json")
        self.server = TeacherServer(self.asked, keys, folder, "colours", log=self.log.append, **settings)
        self.url = self.server.url
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def client(self, **settings):
        return HttpTeacher(self.url, self.key, **{**QUICK, **settings})

    def paid(self, name="anna"):
        database = sqlite3.connect(self.ledger.with_name(f"ledger-{name}.sqlite"))
        try:
            return database.execute("SELECT count(*) FROM paid").fetchone()[0]
        finally:
            database.close()

    def post(self, body, key=None, **headers):
        headers = {"Authorization": f"Bearer {key or self.key}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return requests.post(f"{self.url}/v1/descriptors", data=body, headers=headers, timeout=10)

    def close(self):
        self.server.stop()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def serve(tmp_path):
    servers = []

    def start(budget=100, embed=None, **settings):
        servers.append(Served(tmp_path / f"served {len(servers)}", budget, embed, settings))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def says(answer):
    """The one sentence of a refusal."""
    text = answer.json()["error"]
    assert text.endswith(".") and "\n" not in text and len(text) < 400
    return text


# --- Charges


def test_a_black_box_asks_over_the_network_and_each_image_is_charged_once(serve, tmp_path):
    served, images = serve(), photos(10)
    with BlackBoxTeacher(served.client(), 50, tmp_path / "own", "colours", batch_size=4) as teacher:
        torch.testing.assert_close(teacher.query(images, progress=False), described(images))
        assert teacher.query(images, progress=False).shape == (10, 3)
    assert served.paid() == served.asked.images == 10
    account = served.client().account()
    assert (account["name"], account["dim"], account["spent"], account["left"]) == ("colours", 3, 10, 90)


def test_images_asked_again_from_another_ledger_are_free_and_each_key_pays_for_itself(serve, tmp_path):
    served, images = serve(), photos(6)
    first = served.client()(images)
    assert served.client()(torch.cat([images, images[:2]])).equal(first[[0, 1, 2, 3, 4, 5, 0, 1]])
    assert served.paid() == served.asked.images == 6 and served.paid("bert") == 0
    HttpTeacher(served.url, served.other, **QUICK)(images[:4])
    assert (served.paid(), served.paid("bert")) == (6, 4)


def test_an_image_is_known_by_the_pixels_that_the_black_box_knows_it_by(serve):
    served, images = serve(), photos(2)
    rows = served.client()(images)
    as_pil = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    assert served.client()(as_pil).equal(rows) and served.paid() == 2
    database = sqlite3.connect(served.ledger)
    from rdistill_helpers.embed.black_box import image_key

    assert {row[0] for row in database.execute("SELECT image FROM paid")} == set(map(image_key, images))
    database.close()


def test_images_of_many_sizes_come_back_in_their_order(serve):
    served = serve()
    sizes = [(8, 6), (6, 8), (8, 6), (9, 9), (6, 8)]
    images = [Image.new("RGB", size, (40 * i, 200, 10)) for i, size in enumerate(sizes)]
    expected = described(torch.tensor([[40.0 * i, 200, 10] for i in range(5)])[:, :, None, None])
    torch.testing.assert_close(served.client()(images), expected)


def test_a_budget_is_spent_to_its_end_and_a_request_beyond_it_is_charged_nothing(serve):
    served = serve(budget=5)
    client = served.client()
    client(photos(4))
    with pytest.raises(BudgetExceeded, match="1 of its 5 queries left.*nothing was charged"):
        client(photos(6))
    assert served.paid() == served.asked.images == 4
    assert client(photos(5)).shape == (5, 3) and client.account()["left"] == 0
    with pytest.raises(BudgetExceeded):
        client(photos(1, seed=1))
    assert client(photos(5)).shape == (5, 3)


def test_two_processes_with_one_key_never_overspend(serve, tmp_path):
    served = serve(budget=50, requests_per_minute=10_000)
    program = f"""
        import sys, torch
        from rdistill_helpers import BlackBoxTeacher, BudgetExceeded, HttpTeacher
        images = torch.randint(0, 256, (80, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        start = int(sys.argv[1])
        client = HttpTeacher({served.url!r}, {served.key!r}, pause=0.01, progress=False)
        with BlackBoxTeacher(client, 80, {str(tmp_path)!r} + f"/own{{start}}", "colours", batch_size=2) as teacher:
            try:
                teacher.query(images[start : start + 50], progress=False)
            except BudgetExceeded:
                print("refused")
            print(teacher.spent)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    pair = [
        subprocess.Popen([*command, start], stdout=subprocess.PIPE, text=True, env=environment) for start in ("0", "30")
    ]
    said = [process.communicate(timeout=300)[0].split() for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert served.paid() == served.asked.images and 48 <= served.paid() <= 50
    assert any("refused" in words for words in said)
    assert sum(int(words[-1]) for words in said) >= served.paid()  # what both asked is in both ledgers, charged once


def test_two_servers_on_one_ledger_share_its_budget(serve, tmp_path):
    served = serve(budget=5)
    keys = read_keys(served.ledger.with_name("keys.json"))
    other = TeacherServer(served.asked, keys, served.ledger.parent, "colours", log=served.log.append)
    thread = threading.Thread(target=other.serve_forever, args=(0.02,))
    thread.start()
    try:
        served.client()(photos(3))
        client = HttpTeacher(other.url, served.key, **QUICK)
        assert client(photos(5)).shape == (5, 3) and served.asked.images == 5
        with pytest.raises(BudgetExceeded):
            served.client()(photos(6))
    finally:
        other.stop()
        other.server_close()
        thread.join()


# --- A network that does harm


@pytest.mark.parametrize(
    "fault",
    [
        "dropped at once", "dropped before it arrived", "dropped after it was answered", "answer cut off", "answer changed",
        "request cut off", "request changed", "request repeated", "turned away", "delayed",
    ],
)  # fmt: skip
def test_what_the_network_does_is_made_good_and_never_charged_twice(serve, fault):
    assert fault in FAULTS
    served, images = serve(max_images=4), photos(12)
    with FaultyProxy(served.server.server_port, [PASSED, fault, fault, fault]) as proxy:
        client = HttpTeacher(proxy.url, served.key, **QUICK)
        torch.testing.assert_close(client(images), described(images))
    assert proxy.done[fault] == 3
    assert served.paid() == served.asked.images == 12


def test_an_answer_lost_after_the_charge_is_free_when_asked_again_later(serve, tmp_path):
    served, images = serve(), photos(8)
    faults = [PASSED, *["dropped after it was answered"] * 3]
    with FaultyProxy(served.server.server_port, faults) as proxy:
        client = HttpTeacher(proxy.url, served.key, **QUICK, tries=3)
        with BlackBoxTeacher(client, 8, tmp_path / "own", "colours") as teacher:
            with pytest.raises(TeacherUnavailable, match="no answer in 3 tries.*charged is kept and free"):
                teacher.query(images, progress=False)
            assert teacher.spent == 0 and served.paid() == 8
            torch.testing.assert_close(teacher.query(images, progress=False), described(images))
    assert served.paid() == served.asked.images == 8


def test_a_server_that_is_too_slow_is_asked_again_and_charges_once(serve):
    slow = threading.Event()

    def embed(images):
        if not slow.is_set():
            slow.set()
            time.sleep(0.6)
        return described(images)

    served = serve(embed=embed)
    client = served.client(timeout=(5, 0.2), tries=8, pause=0.05, longest_pause=0.2)
    torch.testing.assert_close(client(photos(3)), described(photos(3)))
    assert served.paid() == 3


def test_a_server_that_is_not_there_is_one_sentence_with_what_is_paid(serve):
    served = serve()
    client = served.client(tries=2)
    client(photos(3))
    served.server.stop()
    served.server.server_close()
    with pytest.raises(
        TeacherUnavailable, match=r"no answer in 2 tries.*no connection.*3 queries are paid there"
    ) as caught:
        client(photos(5))
    assert "\n" not in str(caught.value)


# --- Limits of the server


def test_too_large_a_request_is_refused_before_its_body_is_read(serve):
    served = serve(max_request_bytes=1000)
    with socket.create_connection(("127.0.0.1", served.server.server_port), timeout=5) as connection:
        head = f"POST /v1/descriptors HTTP/1.1\r\nAuthorization: Bearer {served.key}\r\nContent-Length: 999999999999\r\n\r\n"
        connection.sendall(head.encode())
        answer = b""
        while b"}" not in answer:  # though not one byte of the body was sent
            answer += connection.recv(1 << 16)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"999,999,999,999 bytes, more than 1,000" in answer
    answer = served.post(bytes(50_000))
    assert answer.status_code == 413 and "send fewer images at once" in says(answer)


def test_the_client_keeps_below_the_limits_and_says_which_image_cannot(serve):
    served = serve(max_request_bytes=1000, max_images=4)
    lengths = []
    embed = served.server._ledgers["anna"].embed
    served.server._ledgers["anna"].embed = lambda images: lengths.append(len(images)) or embed(images)
    images = torch.cat([photos(10), photos(1, seed=3)])
    torch.testing.assert_close(served.client()(images), described(images))
    assert lengths == [4, 4, 3]
    with pytest.raises(BadInput, match="40 x 30 pixels is larger than the 1,000 bytes of a request"):
        served.client()([Image.new("RGB", (40, 30))])


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_request_that_trickles_is_ended(serve, part):
    served = serve(header_seconds=0.4, body_seconds=0.4)
    with socket.create_connection(("127.0.0.1", served.server.server_port), timeout=5) as connection:
        connection.sendall(b"POST /v1/descriptors HTTP/1.1\r\n")
        if part == "body":
            connection.sendall(f"Authorization: Bearer {served.key}\r\nContent-Length: 500\r\n\r\n".encode())
        begun = time.monotonic()
        with pytest.raises(OSError):  # a byte each time begins no new time
            while time.monotonic() - begun < 5:
                connection.sendall(b"x")
                time.sleep(0.05)
                if select_readable(connection):
                    answer = connection.recv(1 << 16)
                    assert answer == b"" if part == "head" else b" 408 " in answer and b"too slowly" in answer
                    raise OSError
    assert time.monotonic() - begun < 4 and served.paid() == 0


def select_readable(connection):
    import select

    return bool(select.select([connection], [], [], 0)[0])


def test_connections_too_many_are_turned_away_and_answered_later(serve):
    served = serve(max_connections=2, header_seconds=2)
    port = served.server.server_port
    held = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(2)]
    try:
        time.sleep(0.2)
        answer = served.post(b"")
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "1" and "Too many" in says(answer)
    finally:
        for connection in held:
            connection.close()
    assert served.client(tries=10, pause=0.05, longest_pause=0.5)(photos(2)).shape == (2, 3)


def test_a_key_that_asks_too_often_waits_as_long_as_it_is_told(serve, monkeypatch):
    served = serve(requests_per_minute=2, max_images=2)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        served.server._tokens["anna"] = (1.0, time.monotonic())

    monkeypatch.setattr(http_teacher.time, "sleep", sleep)
    client = served.client(longest_pause=10)
    assert client(photos(6)).shape == (6, 3)  # two requests are free to come at once, the account is one
    assert len(slept) == 2 and all(25 <= seconds <= 31 for seconds in slept)
    served.server._tokens["anna"] = (0.0, time.monotonic())
    answer = served.post(b"")
    assert answer.status_code == 429 and 1 <= int(answer.headers["Retry-After"]) <= 30 and "wait" in says(answer)
    assert served.post(b"", key=served.other).status_code == 400  # another key is not held up
    with pytest.raises(TeacherUnavailable, match="HTTP 429, to come back in"):
        served.client(longest_pause=1)(photos(6))


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic {key}", "Bearer {key}x", "Bearer \xff"])
def test_no_key_and_wrong_keys_are_refused(serve, given):
    served = serve()
    headers = {"Authorization": given.format(key=served.key)} if given else {}
    for call in (requests.get(f"{served.url}/v1/teacher", headers=headers, timeout=5), requests.post(
        f"{served.url}/v1/descriptors", data=packed(photos(2).numpy()), headers=headers, timeout=5
    )):  # fmt: skip
        assert call.status_code == 401 and "not known" in says(call) and call.headers["WWW-Authenticate"] == "Bearer"
    assert served.asked.images == served.paid() == 0


def test_the_key_is_in_no_error_no_log_and_no_file(serve, tmp_path):
    served = serve()
    secret = "s3cret-" + "x" * 40
    for client in (
        HttpTeacher(served.url, secret, **QUICK),
        HttpTeacher("http://127.0.0.1:9", secret, tries=2, **QUICK),
    ):
        with pytest.raises((BadInput, TeacherUnavailable)) as caught:
            client(photos(1))
        text = "".join(traceback.format_exception(caught.value)) + repr(client)
        assert secret not in text
        error = caught.value
        while error is not None:
            assert secret not in repr(vars(error)), type(error)
            assert getattr(error, "request", None) is None
            error = error.__cause__
    served.client()(photos(1))
    assert secret not in " ".join(served.log) and served.key not in " ".join(served.log) and len(served.log) >= 2
    assert served.key not in (served.ledger.parent / "keys.json").read_text()
    with pytest.raises(BadInput) as caught:
        HttpTeacher(served.url, f"two\n{secret}")
    assert secret not in str(caught.value)
    with pytest.raises(BadInput) as caught:
        HttpTeacher(f"http://user:{secret}@127.0.0.1:9", "key")
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "headers", "status", "sentence"),
    [
        (b"", {}, 400, "holds no images"),
        (b"\x93NUMPY", {}, 400, "holds no images"),
        (packed(np.zeros((2, 3, 4, 4), np.float32)), {}, 400, "not 4 dimensions of uint8"),
        (packed(np.zeros((2, 4, 4), np.uint8)), {}, 400, "not 4 dimensions of uint8"),
        (packed(np.zeros((2, 4, 4, 3), np.uint8)), {}, 400, r"send \[B, 3, H, W\]"),
        (packed(np.zeros((101, 3, 1, 1), np.uint8)), {}, 400, "B at most 100"),
        (packed(np.zeros((2, 3, 4, 4), np.uint8))[:-1], {}, 400, "does not fit its length"),
        (packed(np.zeros((2, 3, 4, 4), np.uint8)), {"Content_Digest": digest(b"other")}, 400, "changed on their way"),
        (iter([b"chunks"]), {}, 411, "how long it is"),
    ],
)  # fmt: skip
def test_requests_that_hold_no_images_are_refused_in_one_sentence(serve, body, headers, status, sentence):
    served = serve(max_images=100)
    answer = served.post(body, **headers)
    assert answer.status_code == status and re.search(sentence, says(answer))
    assert served.asked.images == served.paid() == 0


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"PUT /v1/teacher HTTP/1.1\r\n\r\n", b"GET /etc/passwd HTTP/1.1\r\n\r\n",
        b"GET /v1/teacher HTTP/9.9\r\n\r\n", b"POST /v1/descriptors HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/descriptors HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v1/descriptors HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /v1/teacher HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=range(10),
)  # fmt: skip
def test_heads_that_are_none_are_refused_in_one_sentence_that_repeats_nothing(serve, head):
    served = serve()
    with socket.create_connection(("127.0.0.1", served.server.server_port), timeout=5) as connection:
        connection.sendall(head)
        answer = b""
        while piece := connection.recv(1 << 16):
            answer += piece
    body = json.loads(answer[answer.rindex(b"{") :])
    assert body["error"].endswith(".") and b"passwd" not in answer and b"xxx" not in answer
    assert served.client().account()["spent"] == 0


def test_the_body_waits_for_a_word_where_it_was_announced(serve):
    served, body = serve(), packed(photos(1).numpy())
    with socket.create_connection(("127.0.0.1", served.server.server_port), timeout=5) as connection:
        head = f"Authorization: Bearer {served.key}\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(b"POST /v1/descriptors HTTP/1.1\r\n" + head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_teacher_that_fails_charges_nothing_and_tells_strangers_nothing(serve):
    def embed(images):
        if images[0, 0, 0, 0] == 1:
            raise RuntimeError("/home/owner/secret.pth is broken")
        if images[0, 0, 0, 0] == 2:
            raise BadInput("The photographs are too small: send larger ones.")
        return described(images) * 2

    served = serve(embed=embed)
    for value, status, sentence in (
        (1, 500, "failed on these"),
        (2, 422, "too small: send larger"),
        (3, 500, "a fault"),
    ):
        answer = served.post(packed(np.full((1, 3, 4, 4), value, np.uint8)))
        assert answer.status_code == status and sentence in says(answer) and "/home" not in answer.text
    assert served.paid() == 0 and any("secret.pth" in line for line in served.log)
    with pytest.raises(TeacherUnavailable, match="HTTP 500.*tell its owner"):
        served.client()(photos(1))


# --- Servers that lie


class Liar:
    """Answers as it is told, in place of a connection."""

    def __init__(self, monkeypatch, client, status=200, body=b"", headers=None):
        self.calls = 0

        def request(method, url, **settings):
            self.calls += 1
            response = requests.Response()
            response.status_code, response.raw = status, io.BytesIO(body)
            response.headers.update(headers or {})
            return response

        client._limits = (10**6, 100)
        monkeypatch.setattr(client._session, "request", request)


ROWS = described(photos(3)).numpy()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (packed(ROWS[:2]), "2 rows for 3 images"),
        (packed(ROWS[0]), "not 2 dimensions of float32"),
        (packed(ROWS.astype(np.float64)), "not 2 dimensions of float32"),
        (packed(np.full((3, 3), np.nan, np.float32)), "NaN"),
        (packed(ROWS * 2), "not L2-normalised"),
        (packed(ROWS)[:-4], "does not fit its length"),
        (b"<html>welcome</html>", "no .npy file"),
        (b"", "no .npy file"),
        (bytes(10**6), "has no end"),
    ],
)
def test_answers_that_are_no_rows_are_tried_again_and_then_refused(monkeypatch, body, reason):
    client = HttpTeacher("http://127.0.0.1:9", "key", **QUICK, tries=3)
    liar = Liar(monkeypatch, client, body=body)
    with pytest.raises(TeacherUnavailable, match=reason) as caught:
        client(photos(3))
    assert liar.calls == 3 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "calls", "error"),
    [
        (401, 1, BadInput), (402, 1, BudgetExceeded), (404, 1, BadInput), (302, 1, BadInput), (413, 1, BadInput),
        (500, 1, TeacherUnavailable), (501, 1, TeacherUnavailable), (429, 4, TeacherUnavailable),
        (502, 4, TeacherUnavailable), (503, 4, TeacherUnavailable), (504, 4, TeacherUnavailable),
    ],
)  # fmt: skip
@pytest.mark.parametrize("body", [b"", b'{"error": 5}', b"[" * 100_000, b'{"error": "a\\nb"}'])
def test_only_what_may_pass_is_tried_again(monkeypatch, status, calls, error, body):
    client = HttpTeacher("http://127.0.0.1:9", "key", **QUICK, tries=4)
    liar = Liar(monkeypatch, client, status=status, body=body)
    with pytest.raises(error) as caught:
        client(photos(3))
    assert liar.calls == calls and "\n" not in str(caught.value)


def test_pauses_grow_differ_and_obey_the_server(monkeypatch):
    def pauses(seed, headers=None, **settings):
        slept = []
        monkeypatch.setattr(http_teacher.time, "sleep", slept.append)
        settings = {"tries": 7, "pause": 1, "longest_pause": 20, "progress": False, **settings}
        client = HttpTeacher("http://127.0.0.1:9", "key", seed=seed, **settings)
        Liar(monkeypatch, client, 503, headers=headers)
        with pytest.raises(TeacherUnavailable):
            client(photos(1))
        return slept

    first = pauses(1)
    bounds = [(0.5, 1), (1, 2), (2, 4), (4, 8), (8, 16), (10, 20)]
    assert all(low <= pause <= high for pause, (low, high) in zip(first, bounds, strict=True))
    assert pauses(1) == first and pauses(2) != first and pauses(None) != pauses(None)
    assert pauses(1, {"Retry-After": "19"})[:5] == [19] * 5
    assert pauses(1, {"Retry-After": "201"}) == []
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    for nonsense in (date, "-5", "soon", "9" * 5000, "²"):
        assert pauses(1, {"Retry-After": nonsense}) == first


# --- Keys, addresses, starting and stopping


def test_a_warning_says_where_a_key_would_travel_readable():
    with pytest.warns(UserWarning, match=r"key travels to teacher\.example readable"):
        HttpTeacher("http://teacher.example", "key")
    with warnings.catch_warnings(action="error"):
        for url in ("https://teacher.example", "http://localhost:5", "http://127.0.0.2", "http://[::1]:80"):
            HttpTeacher(url, "key")


@pytest.mark.parametrize(
    "url", ["", "teacher.example", "ftp://here", "http://", "http://h?key=1", "file:///etc/passwd"]
)
def test_addresses_that_are_none_are_refused(url):
    with pytest.raises(BadInput, match="address is not usable"):
        HttpTeacher(url, "key")


def test_keys_are_kept_as_hashes_and_told_apart(tmp_path):
    path = tmp_path / "new" / "keys.json"
    keys = {name: new_key(path, name, 5) for name in ("anna", "bert-2")}
    assert path.read_text().count("sha256") == 2 and not any(key in path.read_text() for key in keys.values())
    kept = read_keys(path)
    assert {owner_of(key, kept) for key in keys.values()} == set(keys)
    assert owner_of("", kept) is None and owner_of(keys["anna"][:-1], kept) is None and owner_of("\udcff", kept) is None
    for name, budget, words in (
        ("anna", 5, "already"),
        ("../x", 5, "no name"),
        ("Anna", 5, "no name"),
        ("c", 0, "budget 0"),
    ):
        with pytest.raises(BadInput, match=words):
            new_key(path, name, budget)
    assert read_keys(path) == kept
    with pytest.raises(DataMissing, match="teacher-key"):
        read_keys(tmp_path / "none.json")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"a": 5}', '{"a": {"sha256": "00", "budget": 5}}', '{"../a": {"sha256": "%s", "budget": 5}}' % ("0" * 64),
     '{"a": {"sha256": "%s", "budget": 1e9}}' % ("0" * 64), '{"a": {"sha256": "%s", "budget": 5, "x": 1}}' % ("0" * 64),
     '{{"a": {0}, "b": {0}}}'.format('{"sha256": "%s", "budget": 5}' % ("0" * 64)), "[" * 100_000],
    ids=range(10),
)  # fmt: skip
def test_files_that_hold_no_keys_are_refused(tmp_path, text):
    (tmp_path / "keys.json").write_text(text)
    with pytest.raises(BadInput, match=r"keys\.json") as caught:
        read_keys(tmp_path / "keys.json")
    assert "\n" not in str(caught.value)


def test_headers_that_promise_too_much_cost_no_memory():
    body = packed(np.zeros((1, 3, 4, 4), np.uint8))
    lie = body.replace(b"(1, 3, 4, 4), }    ", b"(1, 3, 10**6, 9), }"), body.replace(b"4, 4)", b"4,99999999)")[:128]
    for wrong in (*lie, body.replace(b"|u1", b"|O "), body.replace(b"False", b"True "), body + b"x"):
        with pytest.raises(ValueError):
            unpacked(wrong, IMAGES, 4)
    assert unpacked(body, IMAGES, 4).shape == (1, 3, 4, 4)


def test_settings_and_ledgers_that_cannot_be_served_are_refused(serve, tmp_path):
    served = serve()
    keys = read_keys(served.ledger.with_name("keys.json"))
    with pytest.raises(BadInput, match="cannot be listened at"):
        TeacherServer(described, keys, tmp_path / "other", port=served.server.server_port)
    with pytest.raises(BadInput, match="made by the teacher 'colours', not by 'other'"):
        TeacherServer(described, keys, served.ledger.parent, "other")
    with pytest.raises(BadInput, match="not usable"):
        TeacherServer(described, keys, tmp_path / "other", max_images=0)


@contextmanager
def serving(folder, *settings):
    """The command, its address once it listens, and what it says."""
    command = [
        sys.executable,
        "-m",
        "rdistill_helpers",
        "serve-teacher",
        "keys.json",
        "ledgers",
        "--net",
        "net.safetensors",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "--port", "0", *settings], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        env=environment,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        yield process, re.search(r"http://\S+\d", line)[0]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process without asking it")
def test_the_commands_make_a_key_serve_train_and_stop_when_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_network(RetrievalNet("squeezenet1_1", weights=None, dim=8), tmp_path / "net.safetensors")
    assert main(["teacher-key", "keys.json", "anna", "--budget", "12"]) == 0
    key = capsys.readouterr().out.strip()
    (tmp_path / "photos").mkdir()
    for number in range(12):
        pixels = np.random.default_rng(number).integers(0, 255, (3, 4, 3), np.uint8)
        Image.fromarray(pixels).resize((64, 48)).save(tmp_path / "photos" / f"{number}.png")
    with serving(tmp_path) as (process, url):
        settings = ["--size", "48", "64", "--anchors", "2", "--neighbours", "3", "--steps", "2", "--quiet"]
        settings += ["--teacher", url, "--student", "net.safetensors"]
        assert main(["train", "photos", "out", *settings]) == 1
        assert "key" in capsys.readouterr().err
        monkeypatch.setenv("RDISTILL_TEACHER_KEY", key)
        assert main(["train", "photos", "out", *settings]) == 0
        assert HttpTeacher(url, key, **QUICK).account()["left"] == 0
        process.send_signal(signal.SIGTERM)
        said, log = process.communicate(timeout=300)
        assert process.returncode == 0 and said.startswith("stopped") and key not in log
        assert "anna 200 POST 12" in log and "Traceback" not in log


def test_stopping_finishes_what_is_being_described_and_puts_off_the_rest(serve):
    begun, go_on, answers = threading.Event(), threading.Event(), {}

    def embed(images):
        begun.set()
        go_on.wait(10)
        return described(images)

    served = serve(embed=embed)

    def ask(name, seed):
        answers[name] = served.post(packed(photos(2, seed).numpy())).status_code

    threads = [threading.Thread(target=ask, args=("first", 0)), threading.Thread(target=ask, args=("second", 1))]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    with socket.create_connection(("127.0.0.1", served.server.server_port), timeout=5) as trickling:
        trickling.sendall(b"POST /v1/desc")
        time.sleep(0.3)
        served.server.stop()
        go_on.set()
        for thread in threads:
            thread.join(10)
        served.server.server_close()
    assert answers == {"first": 200, "second": 503} and served.paid() == 2
