"""Who may ask a teacher that is served, and how much: a file of names, hashed keys and budgets."""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rdistill_helpers.errors import BadInput, DataMissing, shown
from rdistill_helpers.files import written_whole

# Names become names of files, on systems that tell no large letters from small ones too.
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
MOST_QUERIES = 10**12


@dataclass(frozen=True)
class Key:
    """What is kept of a key: its SHA-256 in hex digits, and the budget of different images that it may ask about, ever.

    A key is 32 random bytes, so its plain hash tells nothing of it, and whoever reads the file can ask nothing.
    """

    sha256: str
    budget: int


def new_key(path: str | Path, name: str, budget: int) -> str:
    """A new key, which is written to the file as its hash only: this is the one time that it can be read.

    The file is made when it is not there. Raises BadInput for a name that is taken or unusable, and a budget below 1.
    """
    path = Path(path)
    if not NAME.fullmatch(name):
        raise BadInput(f"{shown(name)} is no name for a key: take up to 40 small letters, digits, - and _.")
    if not 1 <= budget <= MOST_QUERIES:
        raise BadInput(f"The budget {shown(budget)} is not usable: give a number of images, at least 1.")
    key = secrets.token_urlsafe(32)
    with written_whole(path) as unfinished:
        keys = read_keys(path) if path.exists() else {}
        if name in keys:
            raise BadInput(f"{path} has a key for {name} already: take another name, or change its budget in the file.")
        keys[name] = Key(hashlib.sha256(key.encode()).hexdigest(), budget)
        text = json.dumps({name: asdict(entry) for name, entry in keys.items()}, indent=1)
        unfinished.write_text(text + "\n", encoding="utf-8")
    return key


def read_keys(path: str | Path) -> dict[str, Key]:
    """{name: Key} of a file that `new_key` wrote. Raises DataMissing when it is not there, BadInput for any other content."""
    path = Path(path)
    if not path.is_file():
        raise DataMissing(f"No keys at {path}: make one with python -m rdistill_helpers teacher-key {path} NAME.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        keys = {name: Key(**entry) for name, entry in content.items()}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path} is no readable file of keys ({error}): restore it, or make new keys.") from error
    for name, key in keys.items():
        usable = isinstance(key.sha256, str) and re.fullmatch("[0-9a-f]{64}", key.sha256)
        if not (NAME.fullmatch(name) and usable and type(key.budget) is int and 1 <= key.budget <= MOST_QUERIES):
            raise BadInput(f"The entry {shown(name)} of {path} is no key with a budget: correct it, or make a new one.")
    if not keys or len({key.sha256 for key in keys.values()}) != len(keys):
        raise BadInput(f"{path} holds {'one key twice' if keys else 'no key'}: make keys with teacher-key.")
    return keys


def owner_of(given: str, keys: Mapping[str, Key]) -> str | None:
    """The name that a key belongs to, None for a wrong one; it takes as long for any key, so that time tells nothing."""
    digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).hexdigest()
    found = None
    for name, key in keys.items():
        if hmac.compare_digest(digest, key.sha256):
            found = name
    return found
