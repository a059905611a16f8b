"""A served teacher over loopback: nobody pays twice or too much, whatever happens to a request on its way."""

import contextlib
import io
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import traceback
import warnings
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import safetensors.numpy
import torch
import torch.nn.functional as F
from PIL import Image

from rdistill_helpers import BadInput, BlackBoxTeacher, BudgetExceeded, DataMissing, TeacherUnavailable
from rdistill_helpers.__main__ import main
from rdistill_helpers.embed.black_box import image_key
from rdistill_helpers.embed.network import RetrievalNet, save_network
from rdistill_helpers.serve import HttpTeacher, TeacherServer, new_key, read_keys, server
from rdistill_helpers.serve import client as client_module
from rdistill_helpers.serve.wire import digest, unpacked
from reliability.proxy import FAULTS, PASSED, FaultyProxy

ROOT = Path(__file__).resolve().parents[1]
QUICK = {"pause": 0.001, "longest_pause": 0.01, "timeout": (5, 5)}


def packed(array):
    return safetensors.numpy.save({"any name": np.ascontiguousarray(array)})


def photos(count, seed=0):
    return torch.randint(0, 256, (count, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def described(images):
    return F.normalize(images.float().mean(dim=(2, 3)))


class Asked:
    """A teacher that counts the images it described."""

    images = 0

    def __call__(self, images):
        self.images += len(images)
        return described(images)


class Served:
    """A server in a thread, with what a test wants to know of it."""

    def __init__(self, folder, budget, embed, settings):
        self.asked, self.log, self.folder = embed or Asked(), [], folder
        self.key = new_key(folder / "keys.json", "anna", budget)
        self.other = new_key(folder / "keys.json", "bert", budget)
        self.server = self.another(**settings)
        self.url, self.port = self.server.url, urlsplit(self.server.url).port
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def another(self, **settings):
        keys = read_keys(self.folder / "keys.json")
        return TeacherServer(self.asked, keys, self.folder, "colours", log=self.log.append, **settings)

    def client(self, **settings):
        return HttpTeacher(self.url, self.key, **{**QUICK, **settings})

    def paid(self, name="anna"):
        with contextlib.closing(sqlite3.connect(self.folder / f"ledger-{name}.sqlite")) as database:
            return {row[0] for row in database.execute("SELECT image FROM paid")}

    def charged(self, name="anna"):
        return len(self.paid(name))

    def post(self, body, key=None, **headers):
        headers = {"Authorization": f"Bearer {key or self.key}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return requests.post(f"{self.url}/v1/descriptors", data=body, headers=headers, timeout=10)

    def connect(self, head=""):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.sendall(head.format(key=self.key).encode())
        return connection

    def close(self):
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()


POST = "POST /v1/descriptors HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {key}\r\n"


@pytest.fixture
def serve(tmp_path):
    with contextlib.ExitStack() as servers:

        def start(budget=100, embed=None, **settings):
            served = Served(tmp_path / f"served {len(list(tmp_path.iterdir()))}", budget, embed, settings)
            servers.callback(served.close)
            return served

        yield start


def says(answer):
    """The one sentence of a refusal."""
    assert "\n" not in answer.text and len(answer.text) < 400
    return answer.text


def heard(connection):
    """All that comes until the connection ends."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(1 << 16):
            answer += piece
    return answer


# --- Charges


def test_a_black_box_asks_over_the_network_and_each_image_is_charged_once(serve, tmp_path):
    served, images = serve(), photos(10)
    with BlackBoxTeacher(served.client(), 50, tmp_path / "own", "colours", batch_size=4) as teacher:
        torch.testing.assert_close(teacher.query(images, progress=False), described(images))
        assert teacher.query(images, progress=False).shape == (10, 3)
    assert served.charged() == served.asked.images == 10
    account = served.client().account()
    assert (account["name"], account["dim"], account["spent"], account["left"]) == ("colours", 3, 10, 90)


def test_images_asked_again_from_another_ledger_are_free_and_each_key_pays_for_itself(serve, tmp_path):
    served, images = serve(), photos(6)
    first = served.client()(images)
    assert served.client()(torch.cat([images, images[:2]])).equal(first[[0, 1, 2, 3, 4, 5, 0, 1]])
    assert served.charged() == served.asked.images == 6 and served.charged("bert") == 0
    HttpTeacher(served.url, served.other, **QUICK)(images[:4])
    assert (served.charged(), served.charged("bert")) == (6, 4)


def test_an_image_is_known_by_the_pixels_that_the_black_box_knows_it_by(serve):
    served, images = serve(), photos(2)
    rows = served.client()(images)
    as_pil = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    assert served.client()(as_pil).equal(rows) and served.charged() == 2
    assert served.paid() == set(map(image_key, images))


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
    with pytest.raises(BudgetExceeded, match="1 of 5 queries.*nothing was charged"):
        client(photos(6))
    assert served.charged() == served.asked.images == 4
    assert client(photos(5)).shape == (5, 3) and client.account()["left"] == 0
    with pytest.raises(BudgetExceeded):
        client(photos(1, seed=1))
    assert client(photos(5)).shape == (5, 3)


def test_two_clients_with_one_key_never_overspend(serve, tmp_path):
    served, images, said = serve(budget=50, requests_per_minute=10_000), photos(80), []

    def ask(start):
        with BlackBoxTeacher(served.client(), 80, tmp_path / f"own {start}", "colours", batch_size=2) as teacher:
            with contextlib.suppress(BudgetExceeded):
                teacher.query(images[start : start + 50], progress=False)
            said.append(teacher.spent)

    pair = [threading.Thread(target=ask, args=(start,)) for start in (0, 30)]
    for thread in pair:
        thread.start()
    for thread in pair:
        thread.join()
    assert served.charged() == served.asked.images and 48 <= served.charged() <= 50
    assert min(said) < 50 and sum(said) >= served.charged()  # what both asked is in both ledgers, charged once


def test_two_servers_on_one_ledger_share_its_budget(serve):
    served = serve(budget=5)
    other = served.another()
    thread = threading.Thread(target=other.serve_forever)
    thread.start()
    served.client()(photos(3))
    assert HttpTeacher(other.url, served.key, **QUICK)(photos(5)).shape == (5, 3) and served.asked.images == 5
    with pytest.raises(BudgetExceeded):
        served.client()(photos(6))
    other.should_exit = True
    thread.join(20)


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
    with FaultyProxy(served.port, [PASSED, fault, fault, fault]) as proxy:
        client = HttpTeacher(proxy.url, served.key, **QUICK)
        torch.testing.assert_close(client(images), described(images))
    assert proxy.done[fault] == 3
    assert served.charged() == served.asked.images == 12


def test_an_answer_lost_after_the_charge_is_free_when_asked_again_later(serve, tmp_path):
    served, images = serve(), photos(8)
    faults = [PASSED, *["dropped after it was answered"] * 3]
    with FaultyProxy(served.port, faults) as proxy:
        client = HttpTeacher(proxy.url, served.key, **QUICK, tries=3)
        with BlackBoxTeacher(client, 8, tmp_path / "own", "colours") as teacher:
            with pytest.raises(TeacherUnavailable, match="no answer.*what it charged is kept and free"):
                teacher.query(images, progress=False)
            assert teacher.spent == 0 and served.charged() == 8
            torch.testing.assert_close(teacher.query(images, progress=False), described(images))
    assert served.charged() == served.asked.images == 8


def test_a_server_that_is_too_slow_is_asked_again_and_charges_once(serve):
    answered = threading.Event()

    def embed(images):
        answered.wait(10)
        return described(images)

    served = serve(embed=embed)
    client = served.client(timeout=(5, 0.2), tries=2)
    with pytest.raises(TeacherUnavailable, match="no answer"):
        client(photos(3))
    answered.set()
    torch.testing.assert_close(served.client()(photos(3)), described(photos(3)))
    assert served.charged() == 3


def test_a_server_that_is_not_there_is_one_sentence(serve):
    served = serve()
    client = served.client(tries=2)
    client(photos(3))
    served.server.should_exit = True
    served.thread.join(20)
    with pytest.raises(TeacherUnavailable, match=r"no answer.*ConnectionError") as caught:
        client(photos(5))
    assert "\n" not in str(caught.value)


# --- Limits of the server


@pytest.mark.parametrize("key", ["{key}", "wrong"])
def test_a_large_request_is_refused_before_its_body_is_read(serve, key):
    served = serve(max_request_bytes=1000)
    with served.connect(POST.replace("{key}", key) + "Content-Length: 999999999999\r\n\r\n") as connection:
        assert b" 413 " in connection.recv(1 << 16)  # though not one byte of the body was sent
    answer = served.post(bytes(5_000_000), key=key.format(key=served.key))  # the refusal arrives in spite of the body
    assert answer.status_code == 413 and says(answer)
    assert served.post(iter([bytes(600), bytes(600)])).status_code == 413  # of unknown length


def test_a_wrong_key_is_refused_before_the_body_is_read(serve):
    with serve().connect(POST.replace("{key}", "wrong") + "Content-Length: 5000000\r\n\r\n") as connection:
        assert b" 401 " in connection.recv(1 << 16)


def test_the_client_keeps_below_the_limits_and_says_which_image_cannot(serve):
    served = serve(max_request_bytes=1000, max_images=4)
    images = torch.cat([photos(10), photos(1, seed=3)])
    torch.testing.assert_close(served.client()(images), described(images))
    assert [line for line in served.log if "POST" in line] == [f"anna 200 POST {spent}" for spent in (4, 8, 11)]
    with pytest.raises(BadInput, match="1,000 bytes.*40 x 30"):
        served.client()([Image.new("RGB", (40, 30))])


@pytest.mark.parametrize(
    "sent", ["", "POST /v1/desc", POST + "Content-Length: 500\r\n\r\n"], ids=["nothing", "head", "body"]
)
def test_a_request_that_trickles_is_ended(serve, sent):
    served = serve(header_seconds=0.4, body_seconds=0.4)
    with served.connect(sent) as connection:
        connection.settimeout(0.05)
        answer = b""
        for _ in range(400):  # a byte each time begins no new time
            with contextlib.suppress(TimeoutError):
                if not (piece := connection.recv(1 << 16)):
                    break
                answer += piece
            with contextlib.suppress(OSError):
                connection.sendall(b"x" if sent else b"")
        else:
            pytest.fail("the connection stays open")
    assert (b" 408 " in answer and b"too slowly" in answer) if "Content-Length" in sent else answer == b""
    assert served.charged() == 0


def test_an_answer_that_nobody_takes_holds_up_nothing(serve):
    wide = F.normalize(torch.ones(1, 1 << 16))
    served = serve(embed=lambda images: wide.expand(len(images), -1), body_seconds=0.4)
    body = packed(photos(100).numpy())
    with served.connect(POST + f"Content-Length: {len(body)}\r\n\r\n") as connection:
        connection.sendall(body)  # 26 MB come back, more than sockets hold
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        served.close()


def test_connections_too_many_are_turned_away_and_answered_later(serve):
    served = serve(max_connections=2)
    with served.connect("GET "), served.connect("GET "):
        assert served.post(b"").status_code == 503
    assert served.client(tries=10, pause=0.05, longest_pause=0.5)(photos(2)).shape == (2, 3)


def test_a_key_that_asks_too_often_waits_as_long_as_it_is_told(serve, monkeypatch):
    clock, slept = [0.0], []
    monkeypatch.setattr(server, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    served = serve(requests_per_minute=2, max_images=2)

    def sleep(seconds):
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr("time.sleep", sleep)
    assert len(served.client(longest_pause=10)(photos(6))) == 6
    assert slept == [30, 30]  # two requests may come at once, the account is one
    answer = served.post(b"")
    assert answer.status_code == 429 and answer.headers["Retry-After"] == "30" and "wait" in says(answer)
    assert served.post(b"", key=served.other).status_code == 400  # another key is not held up
    with pytest.raises(TeacherUnavailable, match="HTTP 429.*in 30 s"):
        served.client(longest_pause=1)(photos(6))


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic {key}", "Bearer {key}x", "Bearer \xff"])
def test_no_key_and_wrong_keys_are_refused(serve, given):
    served = serve()
    headers = {"Authorization": given.format(key=served.key)} if given else {}
    for method, path in (("GET", "/v1/teacher"), ("POST", "/v1/descriptors")):
        call = requests.request(method, served.url + path, data=packed(photos(2).numpy()), headers=headers, timeout=5)
        assert call.status_code == 401 and "not known" in says(call) and call.headers["WWW-Authenticate"] == "Bearer"
    assert served.asked.images == served.charged() == 0


def test_the_key_is_in_no_error_no_log_and_no_file(serve):
    served = serve()
    secret = "s3cret-" + "x" * 40
    for url in (served.url, "http://127.0.0.1:9"):
        client = HttpTeacher(url, secret, tries=2, **QUICK)
        with pytest.raises((BadInput, TeacherUnavailable)) as caught:
            client(photos(1))
        assert secret not in "".join(traceback.format_exception(caught.value)) + repr(client)
        error = caught.value
        while error is not None:
            assert secret not in repr(vars(error)), type(error)
            assert getattr(error, "request", None) is None
            error = error.__cause__ or error.__context__
    served.client()(photos(1))
    assert secret not in " ".join(served.log) and served.key not in " ".join(served.log) and len(served.log) >= 2
    assert served.key not in (served.folder / "keys.json").read_text()
    for url, key in ((served.url, f"two\n{secret}"), (f"http://user:{secret}@127.0.0.1:9", "key")):
        with pytest.raises(BadInput) as caught:
            HttpTeacher(url, key)
        assert secret not in str(caught.value)


def test_the_key_goes_to_no_proxy_of_the_environment_and_no_netrc_replaces_it(serve, tmp_path, monkeypatch):
    served = serve()
    (tmp_path / "netrc").write_text("default login somebody password else")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0)
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        assert served.client(tries=1)(photos(1)).shape == (1, 3)
        with pytest.raises(BlockingIOError):  # nobody has connected
            proxy.accept()


@pytest.mark.parametrize(
    ("body", "headers", "status", "sentence"),
    [
        (b"", {}, 400, "holds no images"),
        (b"\x93NUMPY", {}, 400, "holds no images"),
        (packed(np.zeros((2, 3, 4, 4), np.float32)), {}, 400, "not 4 dimensions of uint8"),
        (packed(np.zeros((2, 4, 4), np.uint8)), {}, 400, "not 4 dimensions of uint8"),
        (packed(np.zeros((2, 4, 4, 3), np.uint8)), {}, 400, r"send uint8 \[B, 3, H, W\]"),
        (packed(np.zeros((101, 3, 1, 1), np.uint8)), {}, 400, "B at most 100"),
        (packed(np.zeros((2, 3, 4, 4), np.uint8))[:-1], {}, 400, "not one array"),
        (packed(np.zeros((2, 3, 4, 4), np.uint8)), {"Content_Digest": digest(b"other")}, 400, "changed on its way"),
        (iter([b"chunks"]), {}, 400, "holds no images"),
    ],
)  # fmt: skip
def test_requests_that_hold_no_images_are_refused_in_one_sentence(serve, body, headers, status, sentence):
    served = serve(max_images=100)
    answer = served.post(body, **headers)
    assert answer.status_code == status and re.search(sentence, says(answer))
    assert served.asked.images == served.charged() == 0


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"PUT /v1/teacher HTTP/1.1\r\n\r\n", b"GET /etc/passwd HTTP/1.1\r\n\r\n",
        b"GET /v1/teacher HTTP/9.9\r\nConnection: close\r\n\r\n",
        b"POST /v1/descriptors HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/descriptors HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v1/descriptors HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /v1/teacher HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=range(10),
)  # fmt: skip
def test_damaged_heads_are_refused_in_one_sentence_that_repeats_nothing(serve, head):
    served = serve()
    with served.connect() as connection:
        connection.sendall(head.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"))
        start, _, body = heard(connection).partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1.1 4\d\d ", start) and len(body.splitlines()) == 1 and len(body) < 100
    assert b"passwd" not in body and b"xxx" not in body
    assert served.client().account()["spent"] == 0


def test_the_body_waits_for_a_word_where_it_was_announced(serve):
    served, body = serve(), packed(photos(1).numpy())
    with served.connect(POST + f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n") as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert heard(connection).startswith(b"HTTP/1.1 200 ")


def test_a_teacher_that_fails_charges_nothing_and_tells_strangers_nothing(serve):
    def embed(images):
        if images[0, 0, 0, 0] == 1:
            raise RuntimeError("/home/owner/secret.pth is broken")
        if images[0, 0, 0, 0] == 2:
            raise BadInput("The photographs are too small: send larger ones.")
        return described(images) * 2

    served = serve(embed=embed)
    for value, status, sentence in (
        (1, 500, "failed"),
        (2, 422, "too small: send larger"),
        (3, 500, "failed"),
    ):
        answer = served.post(packed(np.full((1, 3, 4, 4), value, np.uint8)))
        assert answer.status_code == status and sentence in says(answer) and "/home" not in answer.text
    assert served.charged() == 0 and any("secret.pth" in line for line in served.log)
    with pytest.raises(TeacherUnavailable, match="HTTP 500.*ask its owner"):
        served.client()(photos(1))


def test_the_new_images_of_a_request_are_charged_together_or_not_at_all(serve):
    def embed(images):
        assert images.flatten(1).any(1).all(), "a black image"
        return described(images)

    served = serve(embed=embed)
    images = torch.cat([photos(2), torch.zeros(1, 3, 6, 8, dtype=torch.uint8)])
    assert served.post(packed(images.numpy())).status_code == 500 and served.charged() == 0


# --- Servers that lie


@pytest.fixture
def lie(monkeypatch):
    """Lets all servers give an account, and to images what they are told; gives the list of what they were asked."""

    def start(status=200, body=b"", **headers):
        account = {"name": "liar", "budget": 9, "spent": 2, "left": 7, "max_request_bytes": 10**6, "max_images": 100}
        asked = []

        def request(session, method, url, **settings):
            response = requests.Response()
            response.status_code, response.raw = 200, io.BytesIO(json.dumps(account).encode())
            if method == "POST":
                asked.append(url)
                response.status_code, response.raw = status, io.BytesIO(body)
                response.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
            return response

        monkeypatch.setattr(requests.Session, "request", request)
        return "http://127.0.0.1:9", asked

    return start


ROWS = described(photos(3)).numpy()


@pytest.mark.parametrize(
    ("body", "reason", "headers"),
    [
        (packed(ROWS[0]), "not 2 dimensions of float32", {}),
        (packed(ROWS.astype(np.float64)), "not 2 dimensions of float32", {}),
        (packed(np.full((3, 3), np.nan, np.float32)), "NaN", {}),
        (packed(ROWS * 2), "not L2-normalised", {}),
        (packed(ROWS)[:-4], "not one array", {}),
        (packed(ROWS), "changed on the way", {"Content_Digest": digest(b"other")}),
        (b"<html>welcome</html>", "not one array", {}),
        (b"", "not one array", {}),
        (bytes(2 * 10**6), "has no end", {}),
    ],
    ids=range(9),
)  # fmt: skip
def test_answers_that_are_no_descriptors_are_tried_again_and_then_refused(lie, body, reason, headers, monkeypatch):
    monkeypatch.setattr(client_module, "LARGEST_ANSWER", 10**6)
    url, asked = lie(body=body, **headers)
    with pytest.raises(TeacherUnavailable, match=reason) as caught:
        HttpTeacher(url, "key", tries=3, **QUICK)(photos(3))
    assert len(asked) == 3 and "\n" not in str(caught.value)


def test_too_few_descriptors_and_those_of_another_size_are_refused(lie):
    url, _ = lie(body=packed(ROWS[:2]))
    with pytest.raises(BadInput, match="3 images"):
        HttpTeacher(url, "key", **QUICK)(photos(3))
    with pytest.raises(BadInput, match="0 images"):
        HttpTeacher(url, "key", **QUICK)(photos(0))


def test_an_answer_that_trickles_is_not_waited_for(serve, monkeypatch):
    monkeypatch.setattr(client_module, "SECONDS_FOR_AN_ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def trickle():
            with listening.accept()[0] as connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
                while not ended.wait(0.01):
                    connection.sendall(b"x")

        ended = threading.Event()
        thread = threading.Thread(target=trickle)
        thread.start()
        with pytest.raises(TeacherUnavailable, match="has no end"):
            HttpTeacher(f"http://127.0.0.1:{listening.getsockname()[1]}", "key", tries=1, **QUICK).account()
        ended.set()
        thread.join(10)


@pytest.mark.parametrize(
    ("status", "calls", "error"),
    [
        (401, 1, BadInput), (402, 1, BudgetExceeded), (404, 1, BadInput), (302, 1, BadInput), (413, 1, BadInput),
        (500, 1, TeacherUnavailable), (501, 1, TeacherUnavailable), (429, 3, TeacherUnavailable),
        (502, 3, TeacherUnavailable), (503, 3, TeacherUnavailable), (504, 3, TeacherUnavailable),
    ],
)  # fmt: skip
@pytest.mark.parametrize("body", [b"", b'{"error": 5}', b"[" * 50_000, b'{"error": "a\nb"}'], ids=range(4))
def test_only_what_may_pass_is_tried_again(lie, status, calls, error, body):
    url, asked = lie(status, body, Location="http://127.0.0.1:9")
    with pytest.raises(error) as caught:
        HttpTeacher(url, "key", tries=3, **QUICK)(photos(3))
    assert len(asked) == calls and "\n" not in str(caught.value)


def test_pauses_grow_differ_and_obey_the_server(lie, monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)

    def pauses(**headers):
        slept.clear()
        url, _ = lie(503, **headers)
        with pytest.raises(TeacherUnavailable):
            HttpTeacher(url, "key", tries=7, pause=1, longest_pause=20)(photos(1))
        return list(slept)

    first = pauses()
    bounds = [(0.5, 1), (1, 2), (2, 4), (4, 8), (8, 16), (10, 20)]
    assert all(low <= pause <= high for pause, (low, high) in zip(first, bounds, strict=True))
    assert pauses() != first
    assert pauses(Retry_After="19")[:5] == [19] * 5
    assert pauses(Retry_After="201") == []
    for nonsense in ("Wed, 21 Oct 2015 07:28:00 GMT", "-5", "soon", "9" * 5000, "²"):
        assert len(pauses(Retry_After=nonsense)) == 6 and max(slept) <= 20


# --- Keys, addresses, starting and stopping


def test_a_warning_says_where_a_key_would_travel_readable():
    with pytest.warns(UserWarning, match=r"readable .* to teacher\.example"):
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
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as an editor may write it
    assert {name: entry["budget"] for name, entry in kept.items()} == dict.fromkeys(keys, 5)
    for name, budget in (("anna", 5), ("../x", 5), ("Anna", 5), ("c", 0)):
        with pytest.raises(BadInput, match="has a key" if name == "anna" else "is not usable"):
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
    shapes = (b"[1,3,4,9]", b"[1,3,4,-4]", b"[0,3,4,4]", b"[1,3,4,4e9]")
    lies = [body.replace(b"[1,3,4,4]", shape) for shape in shapes]
    longer = body.replace(b"[1,3,4,4]", b"[99999999,99999999,99999999,9]")
    for wrong in (*lies, longer, body.replace(b'"U8"', b'"OB"'), body[:-1], body + b"x", b"\xff" * 8 + body[8:]):
        with pytest.raises(ValueError):
            unpacked(wrong, np.uint8, 4)
    assert unpacked(body, np.uint8, 4).shape == (1, 3, 4, 4)


def test_settings_and_ledgers_that_cannot_be_served_are_refused(serve, tmp_path):
    served = serve()
    keys = read_keys(served.folder / "keys.json")
    with pytest.raises(BadInput, match="cannot be listened at"):
        TeacherServer(described, keys, tmp_path / "other", port=served.port)
    with pytest.raises(BadInput, match="made by the teacher 'colours', not by 'other'"):
        TeacherServer(described, keys, served.folder, "other")
    with pytest.raises(BadInput, match="not usable"):
        TeacherServer(described, keys, tmp_path / "other", max_images=0)


@pytest.mark.slow
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
    command = "-m rdistill_helpers serve-teacher keys.json ledgers --net net.safetensors --port 0 --max-images 9"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        subprocess.Popen([sys.executable, *command.split()], env=environment, **pipes) as process,
        contextlib.ExitStack() as at_the_end,
    ):
        at_the_end.callback(process.kill)
        url = re.search(r"http://\S+\d", process.stdout.readline())[0]
        settings = ["--size", "48", "64", "--anchors", "2", "--neighbours", "3", "--steps", "2", "--quiet"]
        settings += ["--teacher", url, "--student", "net.safetensors"]
        assert main(["train", "photos", "out", *settings]) == 1
        assert "key" in capsys.readouterr().err
        monkeypatch.setenv("RDISTILL_TEACHER_KEY", key)
        assert main(["train", "photos", "out", *settings]) == 0
        account = HttpTeacher(url, key, **QUICK).account()
        assert account["left"] == 0 and account["max_images"] == 9
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
    with served.connect("POST /v1/desc") as trickling:
        assert served.post(b"").status_code == 400  # so the requests before it have arrived
        served.server.should_exit = True
        assert heard(trickling) == b""
        go_on.set()
        for thread in threads:
            thread.join(10)
    assert answers == {"first": 200, "second": 503} and served.charged() == 2


@pytest.mark.parametrize(
    "command",
    [
        ["serve-teacher", "keys.json", "ledgers"], ["teacher-key", "keys.json", "anna", "--budget", "5"],
        ["train", "photos", "out", "--teacher", "http://127.0.0.1:9", "--size", "48", "64", "--anchors", "2",
         "--neighbours", "1", "--quiet"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
@pytest.mark.parametrize("missing", ["tenacity", "starlette", "uvicorn"])
def test_without_the_extra_the_commands_end_in_one_sentence(tmp_path, monkeypatch, capsys, command, missing):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(4):
        Image.new("RGB", (64, 48), (60 * number, 0, 0)).save(tmp_path / "photos" / f"{number}.png")
    for name in list(sys.modules):
        if name.startswith("rdistill_helpers.serve"):
            monkeypatch.delitem(sys.modules, name)
        elif name.split(".")[0] == missing:
            monkeypatch.setitem(sys.modules, name, None)
    assert main(command) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and missing in said[0] and 'pip install ".[serve]"' in said[0]
    assert not (tmp_path / "keys.json").exists()
