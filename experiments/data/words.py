"""Captions of a closed set of words as tokens, one a word; and the refusal of a word that is not among them."""

import difflib
from collections.abc import Sequence

from experiments.errors import InputError


def word_tokens(caption: str, words: Sequence[str], *, most: int) -> list[int]:
    """Token k + 1 for the k-th word; capitals are as good as small letters.

    >>> word_tokens("Two red", ("one", "red", "two"), most=6)
    [3, 2]

    Args:
        caption: words with spaces between them.
        words: all there are.
        most: how many a prompt can have.

    Raises:
        InputError: a word is not among them, or there are too many; the message names the nearest.
    """
    found = caption.lower().split()
    for word in found:
        if word not in words:
            nearest = difflib.get_close_matches(word, words, n=1, cutoff=0)
            raise InputError(
                f"prompt {caption!r}: the word {word!r} is not known; did you mean {nearest[0]!r}? "
                f"Known are {', '.join(sorted(words))}"
            )
    if len(found) > most:
        raise InputError(
            f"prompt {caption!r} has {len(found)} words, and there is room for {most}; shorten it, or take a scale with a "
            "larger context_length"
        )
    return [words.index(word) + 1 for word in found]
