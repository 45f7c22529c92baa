"""An update on top of unresolved conflicts would bury them: refuse it."""

from __future__ import annotations

import sys
from pathlib import Path

from tp35.conflicts import in_project

if left := in_project(Path.cwd()):
    path, line = left[0]
    sys.exit(f"{path}:{line} still holds a conflict of an earlier update; resolve it first")
