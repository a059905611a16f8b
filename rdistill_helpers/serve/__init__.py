"""A teacher that others ask over HTTP, and the client that asks it: the extra `pip install ".[serve]"`."""

from rdistill_helpers.errors import BadInput

try:
    from rdistill_helpers.serve.client import HttpTeacher
    from rdistill_helpers.serve.keys import new_key, read_keys
    from rdistill_helpers.serve.server import TeacherServer
except ModuleNotFoundError as error:
    raise BadInput(f'Serving needs {error.name}, which is missing: run pip install ".[serve]" in the clone.') from error

__all__ = ["HttpTeacher", "TeacherServer", "new_key", "read_keys"]
