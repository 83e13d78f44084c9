"""Ray for the length of a sweep: a local cluster that leaves nothing behind, or a running one by its address."""

import contextlib
import importlib
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.errors import InputError

_PREFIX = "pocketunet-ray-"
_OWNER = "owner.json"
_STILL_SECONDS = 120.0
_CONNECT_SECONDS = 10.0
_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107  # of a socket's path, at most
_BELOW_BYTES = len("/pocketunet-ray-12345678/session_2026-11-29_12-34-56_123456_1234567/sockets/plasma_store")
_OPEN = (
    "this cluster takes commands without a token, from anyone who reaches it; start it and the sweep with RAY_AUTH_MODE=token, "
    "or keep it behind a firewall"
)
_PACKAGES = ("diffusion", "experiments", "latency_models", "objectives", "search_space", "supernet")
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # six files a trial otherwise
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C reaches us, and the ledger is always whole
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # Tune's snapshots are never read
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "3600",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints its banner whatever `verbose` says
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean the same in a worker
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "MALLOC_ARENA_MAX": "1",  # as `share_one_arena`: a worker has threads before any code of ours
}


@contextlib.contextmanager
def ray_cluster(*, num_cpus: int, address: str | None) -> Iterator[Path]:
    """Connects to Ray and yields a folder for Tune; on the way out disconnects, and removes what was made here.

    A local cluster keeps Ray's token authentication and has no dashboard. Its folder lies under `temporary_root()`; folders of
    processes that were killed are removed when the next one starts. A running cluster is sent this project's code; its nodes
    share no folder with this machine.

    Raises:
        InputError: no cluster answers at the address, or Ray's authentication was switched off for a local one.
    """
    has_token = os.environ.get("RAY_AUTH_MODE", "token") == "token"
    if address is None and not has_token:
        raise InputError(
            f"RAY_AUTH_MODE={os.environ['RAY_AUTH_MODE']}: Ray listens on all interfaces, and without a token it runs code of "
            "anyone who reaches this machine; unset RAY_AUTH_MODE, or set search.executor=local"
        )
    _remove_orphans()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=temporary_root()))
    (folder / _OWNER).write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}), encoding="utf-8")
    with _environment():
        import ray

        logging.getLogger("ray").setLevel(logging.ERROR)  # Tune warns once per trial that it wrote no files
        logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # what a lost worker had is done by another: no error
        is_ours = not ray.is_initialized()
        try:
            if is_ours:
                settings: dict[str, Any] = {"num_cpus": num_cpus, "include_dashboard": False, "_temp_dir": str(folder)}
                if address is not None:
                    settings = {"runtime_env": _code(folder / "code")}
                with warnings.catch_warnings():
                    # Ray forks only to execute another program at once, which is safe beside JAX's threads.
                    warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
                    _connect(address, settings)
                if address is not None and os.environ.get("RAY_AUTH_MODE") != "token":
                    print(f"--address {address}: {_OPEN}", file=sys.stderr)
            yield folder
        finally:
            if is_ours:
                ray.shutdown()
            _remove(folder)


def temporary_root() -> str:
    """The system's temporary folder, or /tmp where the names of Ray's sockets would be too long in it.

    Raises:
        InputError: neither will do.
    """
    for root in _roots():
        if len(os.fsencode(os.path.realpath(root))) + _BELOW_BYTES <= _SOCKET_BYTES and os.access(root, os.W_OK):
            return root
    raise InputError(
        f"TMPDIR={tempfile.gettempdir()}: the names of Ray's sockets would be too long in this folder, and /tmp cannot be "
        f"written; set TMPDIR to a folder whose name has at most {_SOCKET_BYTES - _BELOW_BYTES} bytes, or set "
        "search.executor=local"
    )


def _roots() -> tuple[str, str]:
    return tempfile.gettempdir(), "/tmp"


def _code(folder: Path) -> dict[str, Any]:
    """The environment of workers elsewhere: a folder with a copy of our packages, in which each node keeps what it compiles."""
    for name in _PACKAGES:
        (place,) = importlib.import_module(name).__path__
        shutil.copytree(place, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return {"working_dir": str(folder), "env_vars": {"JAX_COMPILATION_CACHE_DIR": "compiled", "MALLOC_ARENA_MAX": "1"}}


def _connect(address: str | None, settings: dict[str, Any]) -> None:
    import ray

    try:
        if address is not None and (port := address.rpartition(":")[2]).isdecimal():
            # Ray itself would try for minutes, and take no interrupt meanwhile.
            socket.create_connection((address.rpartition(":")[0], int(port)), timeout=_CONNECT_SECONDS).close()
        # "local", or RAY_ADDRESS of the environment would be used.
        ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **settings)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        if address is None:
            raise
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({str(error).splitlines()[0]}); start one with "
            "`ray start --head`, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN where it wants a token, or leave the address out"
        ) from None


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _remove_orphans() -> None:
    for folder in (folder for root in dict.fromkeys(_roots()) for folder in Path(root).glob(f"{_PREFIX}*")):
        try:
            owner = json.loads((folder / _OWNER).read_text(encoding="utf-8"))
            is_mine = folder.lstat().st_uid == os.getuid() and owner["host"] == socket.gethostname()
            if is_mine and not folder.is_symlink() and not _is_alive(int(owner["pid"])) and _is_still(folder):
                _remove(folder)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # another user's, or half made


def _is_still(folder: Path) -> bool:
    """Whether nothing was written for a while: Ray's agents outlive a killed driver by about a minute."""
    newest = max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
    return time.time() - newest > _STILL_SECONDS


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(folder: Path) -> None:
    for _ in range(10):  # Ray's last processes may still write
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.2)
