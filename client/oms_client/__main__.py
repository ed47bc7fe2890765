"""Run the command `oms` as `python -m oms_client`."""

import sys

from .cli import main

sys.exit(main())
