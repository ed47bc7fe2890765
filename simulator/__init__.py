"""Exchanges that speak the real wire, for demo, paper trading and tests."""
