"""What an execution cost: the exact identity, the result of a parent, and the report over many."""

from ems.tca.result import SHOWN, cost_of, result

__all__ = ["SHOWN", "cost_of", "result"]
