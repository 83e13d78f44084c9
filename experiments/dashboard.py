"""optuna-dashboard over a run, for who knows it: the search as a study in a database that goes when the server does."""

import contextlib
import errno
import tempfile
from collections.abc import Callable
from pathlib import Path

from experiments.errors import InputError
from experiments.ledger_export import export_ledger
from experiments.run_folder import Run

HOST = "127.0.0.1"  # no other machine sees it


def serve_dashboard(run: Run, *, port: int, say: Callable[[str], None]) -> None:
    """Serves until it is interrupted; nothing is written into the run folder, and what is changed on the page is lost.

    Args:
        run: whose search is shown.
        port: of 127.0.0.1.
        say: is told the address.

    Raises:
        InputError: optuna-dashboard is not installed, or the port is taken.
    """
    try:
        from optuna_dashboard import run_server
    except ImportError:
        raise InputError("the dashboard needs optuna-dashboard, not installed here; `make install` brings it") from None
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(KeyboardInterrupt):
        path = Path(folder) / f"{run.path.resolve().name}.db"
        export_ledger(run.ledger, path, form="optuna")
        say(f"http://{HOST}:{port}/dashboard until Ctrl+C")
        try:
            run_server(f"sqlite:///{path}", host=HOST, port=port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise InputError(f"--port {port}: something listens there already; choose another") from None
