"""Cutting: everything is said, in order, in pieces that fit, cut at the best places; joining: no click, no gap."""

import random

import numpy as np
import pytest

from e2etts_jax.infer.long_text import join, pieces


def up_to(size: int):
    return lambda text: len(text) <= size


def test_what_fits_stays_whole():
    assert pieces(" One. Two. ", up_to(50)) == [("One. Two.", 0.0)]


@pytest.mark.parametrize(
    ("text", "size", "wanted"),
    [
        ("One two. Three four! Five six? Seven.", 20, ["One two. Three four!", "Five six? Seven."]),
        ("First one.\n\nSecond one. Third one.", 24, ["First one.", "Second one. Third one."]),
        ('He said "no." Then he left.', 14, ['He said "no."', "Then he left."]),
        ("one two three, four five six, seven", 16, ["one two three,", "four five six,", "seven"]),
        ("one two three four", 9, ["one two", "three", "four"]),
        ("Pi is 3.14 exactly. Or so.", 20, ["Pi is 3.14 exactly.", "Or so."]),
        ("你好。再见！好的，行", 4, ["你好。", "再见！", "好的，行"]),
        ("你好。再见！好的，行", 6, ["你好。再见！", "好的，行"]),
        ("One line\nof a file. Two.", 19, ["One line\nof a file.", "Two."]),
    ],
)
def test_cuts_are_at_the_best_places(text: str, size: int, wanted: list[str]):
    assert [piece for piece, _ in pieces(text, up_to(size))] == wanted


def test_pauses_are_those_of_the_cuts():
    text = "One two three, four five. Six seven eight\nnine ten.\n\nEleven."
    assert pieces(text, up_to(14)) == [
        ("One two three,", 0.15),
        ("four five.", 0.35),
        ("Six seven", 0.0),
        ("eight\nnine", 0.0),
        ("ten.", 0.6),
        ("Eleven.", 0.0),
    ]


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost(seed: int):
    rng = random.Random(seed)
    words = ["a", "bcd", "efghij", "k,", "lm.", "no!", "p;", "q\n\n", '"r."', "。", "s，t"]
    text = " ".join(rng.choice(words) for _ in range(rng.randint(1, 60))).strip()
    made = pieces(text, up_to(rng.randint(6, 30)))
    assert "".join("".join(piece for piece, _ in made).split()) == "".join(text.split())


def test_a_word_that_never_fits_is_named():
    with pytest.raises(ValueError, match="the word 'abcdefgh' is too long"):
        pieces("ab abcdefgh cd", up_to(5))


def test_joints_are_silent_and_as_long_as_the_pause():
    rate, rng = 22_050, np.random.default_rng(0)
    spoken = (0.3 * rng.standard_normal(rate)).astype(np.float32)
    silence = np.zeros(rate // 2, np.float32)
    piece = np.concatenate([silence, spoken, silence])
    made = join([piece, piece], [0.35, 0.0], rate)
    quiet = np.flatnonzero(np.abs(made) > 0.01)
    gap = np.diff(quiet).max() / rate
    assert 0.35 <= gap < 0.35 + 2 * (0.03 + 0.06), "the pause and the edges, not the second of silence there was"
    assert len(made) < 2.6 * rate and np.abs(made[:5]).max() == 0
    assert join([piece], [0.0], rate) is piece
    nothing = np.zeros(4410, np.float32)
    assert len(join([piece, nothing, piece], [0.1, 0.1, 0.0], rate)) > 2 * rate
