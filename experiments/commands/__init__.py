"""The commands, by what they are about: `run` (a sweep), `bundle` (a hand-off), `weights` (in and out), `inspect` (the rest).

These modules are read by every call of `pocketunet`, `--help` included: they import click and the standard library, and
all else inside the command that needs it.
"""
