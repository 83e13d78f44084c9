"""The one error a person can mend: what they gave us is wrong, and the message says how to put it right."""


class InputError(ValueError):
    """A refusal of something a person gave (a file, a key, a value); the command line prints it alone and exits with 2."""
