"""What an execution cost: the benchmark at arrival and the result of a parent."""

from ems.tca.result import SHOWN, arrival, result

__all__ = ["SHOWN", "arrival", "result"]
