"""What a person can mend ends a benchmark with one message and exit code 2; a fault of our own shows its trace."""

import contextlib
import sys
from collections.abc import Iterator

from experiments.errors import is_refusal, refusal_message


@contextlib.contextmanager
def refusing(what: str) -> Iterator[None]:
    """Tells a refusal within the block, after the name of what was being done."""
    try:
        yield
    except (ValueError, OSError) as error:
        if not is_refusal(error):
            raise
        print(f"{what}: {refusal_message(error)}", file=sys.stderr)
        sys.exit(2)
