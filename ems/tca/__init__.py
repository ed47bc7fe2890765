"""What an execution cost: the exact identity, the result of a parent, and the report over many."""

from ems.tca.result import SHOWN, result

__all__ = ["SHOWN", "result"]
