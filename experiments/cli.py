"""The command line `pocketunet`: one command for each thing a person wants, one message for each thing that is wrong.

Nothing heavy is imported before a command needs it, so that `--help` answers at once. What a person can mend (a key, a
file, a value) is one message on standard error and exit code 2; anything else is a bug and shows its trace.
"""

import sys
import traceback
from collections.abc import Sequence

import click

from experiments.commands.bundle import distill, export, handoff, sample, train, verify
from experiments.commands.inspect import compare, data, describe, ledger, space
from experiments.commands.latency import latency
from experiments.commands.quality import quality
from experiments.commands.run import dashboard, explain, front, report, status, sweep
from experiments.commands.supernet import supernet
from experiments.commands.weights import weights
from experiments.errors import is_refusal, refusal_message
from experiments.memory import share_one_arena


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and exits: 0 done, 1 the command's answer is no, 2 bad input, 130 interrupted."""
    share_one_arena()
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
    except SystemExit:  # click's, where the reader of our output has gone (`| head`)
        return 0
    except (ValueError, OSError) as error:
        if not is_refusal(error):
            traceback.print_exc()
            return 1
        click.echo(f"pocketunet: {refusal_message(error)}", err=True)
        return 2
    return answer if isinstance(answer, int) else 0


if __name__ == "__main__":
    main()
