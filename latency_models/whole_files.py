"""Records that appear whole or not at all, whenever the process is killed."""

import json
import os
from pathlib import Path
from typing import Any


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Writes a JSON object under its name only once all of it is on disk; a kill leaves the old file or the new one."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(record, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
