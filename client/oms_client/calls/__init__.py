"""The calls by subject; `OMSClient` is all of them in one."""
