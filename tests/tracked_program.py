"""Tracks a run folder as a sweep in it does, as a program of its own: `tracked_program.py FOLDER end|kill [KEY=VALUE...]`.

Prints every address that this process looked up or connected to, and what was said, as one JSON object.
"""

import json
import os
import pathlib
import sys

from experiments_fixtures.run_folders import reopened

from experiments.config import load_config
from experiments.progress import silent_progress
from experiments.run_folder import read_run
from experiments.trackers import mlflow_tracker
from experiments.trackers.sweep_log import log_front, track_sweep

ADDRESSES = []


def note_address(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        address = arguments[1] if event == "socket.connect" else arguments[0]
        if isinstance(address, tuple) or event == "socket.getaddrinfo":  # a socket of this machine alone is a text or bytes
            ADDRESSES.append(str(address))


def main(folder, end, *overrides):
    sys.addaudithook(note_address)
    mlflow_tracker._MOST_METRICS = 50  # sends, and may be killed between
    said = []
    progress = silent_progress()
    progress.say = said.append
    config = load_config("digits", [f"run_dir={folder}", *overrides])
    with reopened(folder) as ledger, track_sweep(config, folder, ledger, progress) as log:
        if end == "kill":
            os._exit(9)
        log_front(read_run(folder), log)
    print(json.dumps({"addresses": ADDRESSES, "said": said}))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *sys.argv[2:])
