"""The type checker that the jaxtyping hook puts around every function of ours while tests run: beartype, where an int
may stand for a float, as everywhere in Python's numeric tower."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
