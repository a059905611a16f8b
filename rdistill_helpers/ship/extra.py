"""What only ONNX needs: the extra `pip install ".[ship]"`. It is imported where it is used, so that all else works without."""

from importlib import import_module
from typing import Any

from rdistill_helpers.errors import BadInput


def needed(name: str) -> Any:
    """A module of the extra.

    Args:
        name: of the module.

    Returns:
        The module.

    Raises:
        BadInput: its package is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise BadInput(f'ONNX needs {error.name}, which is missing: run pip install ".[ship]" in the clone.') from error
