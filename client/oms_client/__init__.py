"""The client of the order and execution management system."""

__version__ = "0.1.0"
