"""Package the thin client only: `pip install .` gives `from oms_client import OMSClient` and `oms`.

The server runs from its own folder (./oms, requirements.txt) and is not installed anywhere.
"""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"


def version() -> str:
    """Read the version from the client's own source, so that it is written once."""
    source = (HERE / "client" / "oms_client" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE)
    if found is None:
        raise SystemExit('setup.py: client/oms_client/__init__.py has no line __version__ = "..."')
    return found.group(1)


setup(
    name="oms-client",
    version=version(),
    description="Client of the self-hosted crypto order and execution management system",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.9",
    package_dir={"": "client"},
    packages=["oms_client", "oms_client.calls", "oms_client.commands"],
    package_data={"oms_client": ["py.typed"]},
    install_requires=["requests>=2.31", "pynacl>=1.5", "websocket-client>=1.6"],
    entry_points={"console_scripts": ["oms = oms_client.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Typing :: Typed",
        "Operating System :: OS Independent",
    ],
)
