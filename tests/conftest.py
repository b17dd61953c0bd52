"""One thread a test process: the suite runs on as many processes as there are cores, and matrices here are tiny."""

from __future__ import annotations

import os

# Before torch is first imported, and for the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
