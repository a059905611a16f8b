"""No test may reach the network: only loopback and sockets between processes stay open. A browser, a loader of scripts."""

import importlib.util
import ipaddress
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from lab_page import chromium

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def load_script() -> Callable[[str], ModuleType]:
    """Gives a script that is in no package as a module: load_script("tools/train_teacher.py")."""

    def load(path: str) -> ModuleType:
        name = Path(path).stem
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium for the tests of a file, which are skipped where there is none."""
    if chromium() is None:
        pytest.skip("no Chromium here: install it, or name it in the variable RDISTILL_CHROMIUM")
    playwright = pytest.importorskip("playwright.sync_api", reason="not installed: pip install --editable '.[dev]'")
    with playwright.sync_playwright() as driver:
        # Without a sandbox, which containers and root do not have; without /dev/shm, which is small in containers.
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        running = driver.chromium.launch(executable_path=chromium(), args=arguments)
        yield running
        running.close()


class NetworkCut(ConnectionRefusedError):
    """Raised where a test tries to leave this machine; the same kind of error that a machine without network gives."""


def stays_here(host: object) -> bool:
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """The guard. pytest-socket cannot take its place: with loopback allowed it looks every name up and leaves `connect_ex`
    open, and it raises a RuntimeError where a machine without network raises an OSError.
    """
    guard = pytest.MonkeyPatch()
    unix = getattr(socket, "AF_UNIX", None)  # not on Windows

    def guarded(method):
        def call(self, address):
            if self.family != unix and not stays_here(address[0]):
                raise NetworkCut(f"a test tried to connect to {address}")
            return method(self, address)

        return call

    look_up = socket.getaddrinfo

    def guarded_look_up(host, *arguments, **settings):
        if not stays_here(host.decode() if isinstance(host, bytes) else host):
            raise socket.gaierror(f"a test tried to look up {host}")
        return look_up(host, *arguments, **settings)

    guard.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    guard.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
    guard.setattr(socket, "getaddrinfo", guarded_look_up)
    yield
    guard.undo()
