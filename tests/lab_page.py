"""A real JupyterLab and a headless Chromium that opens a notebook in it, for tests of what a reader does by hand."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START = 120  # seconds that a slow machine may take to start JupyterLab
RUN = 120  # the same for a kernel to start, import PyTorch and run a small notebook


def chromium() -> str | None:
    """The path of a Chromium, from RDISTILL_CHROMIUM or from where systems install it."""
    named = os.environ.get("RDISTILL_CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


@contextlib.contextmanager
def lab(folder: Path, paths: list[Path]) -> Iterator[str]:
    """A JupyterLab on this folder: the address with its token, in which NOTEBOOK stands for a notebook's file name.

    paths: where its kernels find modules. Settings and state of the user who runs the tests are neither read nor written.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home, token = folder / ".home", secrets.token_hex(16)
    own = {f"JUPYTER_{kind}_DIR": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces")}
    own |= {"JUPYTER_PLATFORM_DIRS": "1", "JUPYTER_PREFER_ENV_PATH": "1", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **own, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    address = f"http://127.0.0.1:{port}"
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={folder}"),
        *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
        *(f"--IdentityProvider.token={token}", "--LabApp.expose_app_in_browser=True"),
        "--LabApp.extension_manager=readonly",  # would list what a package index offers
    ]
    news = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false", "checkForUpdates": false}', encoding="utf-8")
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(f"{address}/api/status?token={token}", server, folder / "lab.log")
            yield f"{address}/lab/tree/NOTEBOOK?token={token}&reset"
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    until = time.monotonic() + START
    while time.monotonic() < until:
        if server.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()[-2000:]}")


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook of these code cells, not run."""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells], metadata=kernel), path)
