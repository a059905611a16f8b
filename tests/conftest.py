"""No test may reach the network: only loopback and sockets between processes stay open. And how tests load a tool."""

import importlib.util
import ipaddress
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"


@pytest.fixture(scope="session")
def load_tool() -> Callable[[str], ModuleType]:
    """Gives a script of tools/ as a module: load_tool("train_teacher")."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


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
