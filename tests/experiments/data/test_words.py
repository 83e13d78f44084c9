import pytest

from experiments.data import prompt_tokens
from experiments.data.words import word_tokens
from experiments.errors import InputError

WORDS = ("circle", "one", "red", "two")


def test_capitals_and_spaces_do_not_matter():
    assert word_tokens("  One RED  circle ", WORDS, most=3) == [2, 3, 1]
    assert prompt_tokens({"caption": "two red", "label": 3}, 4, words=WORDS).tolist() == [4, 3, 0, 0]
    assert prompt_tokens({"caption": ""}, 2, words=WORDS).tolist() == [0, 0]


def test_an_unknown_word_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="'one rad circle': the word 'rad' is not known; did you mean 'red'\\? Known are"):
        word_tokens("one rad circle", WORDS, most=6)


def test_too_many_words_are_refused():
    with pytest.raises(InputError, match="'one red circle' has 3 words, and there is room for 2; shorten it"):
        word_tokens("one red circle", WORDS, most=2)
