"""The command line `pocketunet`: one command for each thing a person wants, one message for each thing that is wrong.

Nothing heavy is imported before a command needs it, so that `--help` answers at once. What a person can mend (a key, a
file, a value) is one message on standard error and exit code 2; anything else is a bug and shows its trace.
"""

import errno
import sys
import traceback
import types
from collections.abc import Sequence

import click

from experiments.commands.bundle import distill, export, handoff, sample, train, verify
from experiments.commands.inspect import compare, data, describe, ledger, space
from experiments.commands.latency import latency
from experiments.commands.quality import quality
from experiments.commands.run import dashboard, explain, front, report, status, sweep
from experiments.commands.supernet import supernet
from experiments.commands.weights import weights

_OURS = frozenset({"search_space", "supernet", "diffusion", "objectives", "latency_models", "experiments"})


class _InOrder(click.Group):
    """Lists its commands in the order in which a person needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=_InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Begin with `pocketunet sweep digits`; then `pocketunet front runs/digits`.",
)
@click.version_option(package_name="pocketunet", prog_name="pocketunet")
def pocketunet() -> None:
    """Searches diffusion UNets for a device: this UNet, this device, this many milliseconds."""


_COMMANDS = (
    sweep, status, front, explain, report, dashboard, handoff, train, distill, sample, verify, export, weights,
    supernet, quality, latency, data, space, describe, compare, ledger,
)  # fmt: skip
for _command in _COMMANDS:
    pocketunet.add_command(_command)


_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # what the disk says, whatever was asked for


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 done, 1 the command's answer is no, 2 bad input, 130 interrupted."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        answer = pocketunet.main(arguments, prog_name="pocketunet", standalone_mode=False)
    except click.ClickException as refusal:
        refusal.show()
        return refusal.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; what was finished is on disk, and the same command goes on from there", err=True)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); a second failure at the interpreter's exit is noise.
        sys.stderr.close()
        return 0
    except (ValueError, OSError) as error:
        if not _is_refusal(error):
            traceback.print_exc()
            return 1
        click.echo(f"pocketunet: {_message(error)}", err=True)
        return 2
    return answer if isinstance(answer, int) else 0


def _is_refusal(error: ValueError | OSError) -> bool:
    """Whether the error is about what a person gave: a path that is not there, or a refusal by our own code."""
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError | FileExistsError | PermissionError):
        return True
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return True
    frame = _last_frame(error.__traceback__)
    return isinstance(error, ValueError) and frame is not None and frame.f_globals["__name__"].split(".")[0] in _OURS


def _last_frame(trace: types.TracebackType | None) -> types.FrameType | None:
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame if trace is not None else None


def _message(error: ValueError | OSError) -> str:
    """The error's own words; for the operating system's errors, the path first."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    told = error.strerror.lower() if error.filename is None else f"{error.filename}: {error.strerror.lower()}"
    if error.errno in _UNWRITABLE:
        return f"{told}; what was finished is kept: once it can be written, the same command goes on from there"
    return told if error.filename is not None else str(error)


if __name__ == "__main__":
    main()
