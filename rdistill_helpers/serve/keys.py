"""Who may ask a served teacher, and how much: a file of names, hashed keys and budgets."""

import hashlib
import json
import re
import secrets
from pathlib import Path
from typing import Any

from rdistill_helpers.errors import BadInput, DataMissing, shown
from rdistill_helpers.files import written_whole

NAME = "[a-z0-9][a-z0-9_-]{0,39}"  # part of a file's name, on systems that ignore case too


def new_key(path: str | Path, name: str, budget: int) -> str:
    """Return a new key. The file keeps its SHA-256 only: the key is 32 random bytes, which nobody can guess from it.

    Args:
        path: The file of keys, made where there is none.
        name: Whose key it is.
        budget: Different images that it may ask about, ever.

    Raises:
        BadInput: The name is taken or unusable, or the budget is below 1.
    """
    path, key = Path(path), secrets.token_urlsafe(32)
    if not re.fullmatch(NAME, name) or budget < 1:
        raise BadInput(f"{shown(name)} with budget {shown(budget)} is not usable: give a-z, 0-9, - and _; 1 or more.")
    with written_whole(path) as unfinished:
        keys = read_keys(path) if path.exists() else {}
        if name in keys:
            raise BadInput(f"{path} has a key for {name} already: give another name, or change its budget in the file.")
        keys[name] = {"sha256": hashlib.sha256(key.encode()).hexdigest(), "budget": budget}
        unfinished.write_text(json.dumps(keys, indent=1) + "\n", encoding="utf-8")
    return key


def read_keys(path: str | Path) -> dict[str, dict[str, Any]]:
    """Return {name: {"sha256": hash of a key, "budget": images that it may ask about}} of a file that `new_key` wrote.

    Args:
        path: The file.

    Raises:
        DataMissing: There is no such file.
        BadInput: The file holds anything else.
    """
    try:
        keys = json.loads(Path(path).read_text(encoding="utf-8").removeprefix("\ufeff"))  # of an editor
        for name, key in keys.items():
            good = re.fullmatch(NAME, name) and re.fullmatch("[0-9a-f]{64}", key["sha256"]) and len(key) == 2
            if not good or type(key["budget"]) is not int or key["budget"] < 1:
                raise ValueError(f"the entry {shown(name)} has no usable hash and budget")
        if len({key["sha256"] for key in keys.values()}) < max(1, len(keys)):
            raise ValueError("it has no key, or one twice")
    except FileNotFoundError:
        raise DataMissing(f"No keys at {path}: run python -m rdistill_helpers teacher-key {path} NAME.") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path} is not a usable file of keys ({error}): restore it, or make new keys.") from error
    return keys
