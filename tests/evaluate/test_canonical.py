"""The canonical form, case by case: what must be equal, what must stay apart, what it looks like."""

import numpy as np
import pytest

from e2etts_jax.data.datasets.numbers import grammar
from e2etts_jax.evaluate.canonical import canonical

# Spoken words, then ways in which a recogniser may write them.
SAME = {
    "five five five one two one two": [
        "555-1212",
        "555 1212",
        "5 5 5, 1 2 1 2.",
        "Five, five, five, 1-2-1-2",
        "5551212",
    ],
    "nineteen dollars and ninety five cents": ["$19.95", "19 dollars and 95 cents.", "$19 and 95 cents", "$19.95."],
    "thirteen dollars and forty five cents": ["$13 and $45 cents.", "$ 13.45", "13 dollars, 45 cents"],
    "five dollars and five cents": ["$5.05", "$5.05."],
    "five dollars and ten cents": ["$5.10", "Five dollars and ten cents."],
    "forty five cents": ["$0.45", "$.45", "45 cents", "45¢", "$45 cents"],
    "forty four dollars": ["$44.", "$44.00", "44 dollars", "$ 44 dollars."],
    "one dollar": ["$1", "1 dollar", "One dollars"],
    "one thousand nine hundred dollars": ["$1,900", "One thousand, nine hundred dollars.", "$1900", "1,900 dollars."],
    "five million dollars": ["$5 million", "$5,000,000"],
    "two point five million dollars": ["$2.5 million"],
    "seven forty five p m": ["7:45 PM", "7:45 p.m.", "7.45pm", "745 PM", "7 45 p.m", "Seven forty five p M.."],
    "seven oh five a m": ["7:05 AM", "7:05 a.m.", "seven o five am", "7-0-5 A.M."],
    "received at six sixteen p m": ["received at 6.16 pm.", "Received at 6:16.PM", "received at 6, 16 pm"],
    "at four thirty": ["at 4:30", "at 4.30.", "at 430"],
    "eight p m": ["8 PM", "8:00 PM", "8pm.", "8 o'clock PM", "800 PM"],
    "ten a m": ["10:00 a.m.", "1000 AM", "10 00 AM", "10 A.M"],
    "yesterday at five o'clock": ["Yesterday, at 5:00.", "yesterday at 5 o’clock", "Yesterday at 5:00 o'clock"],
    "at five o'clock": ["at 5 o clock", "at five oclock.", "At 5:00"],
    "monday march third": ["Monday, March 3rd", "Monday, March 3.", "Monday March third", "Mon, Mar 3"],
    "december twenty second": ["December 22nd.", "Dec. 22", "December twenty-second"],
    "june thirtieth": ["June 30th", "June 30."],
    "september first": ["Sept. 1st", "September 1"],
    "tomorrow is tuesday october thirty first": ["Tomorrow is Tuesday, October 31st."],
    "the number is five two two": ["The number is 522.", "the number is five twenty two"],
    "five hundred twenty two": ["522", "five hundred and twenty-two", "5-22", "5 hundred 22"],
    "one hundred five": ["105", "one hundred and five", "1 0 5", "a hundred and five", "one oh five"],
    "one hundred": ["100", "a hundred", "100."],
    "two hundred three thousand": ["203,000"],
    "one hundred three hundred": ["100 300", "100, 300"],
    "one thousand two thousand": ["1000 2000", "1,000, 2,000"],
    "twenty three thousand six hundred thirty nine": ["23,639", "23 thousand 639", "23639"],
    "fifteen hundred": ["1,500", "one thousand five hundred", "1500"],
    "two thousand ten": ["2010", "2,010", "twenty ten"],
    "one hundred twenty thousand": ["120,000"],
    "one thousand one": ["1,001", "1001"],
    "extension eight oh oh seven": [
        "Extension 8007.",
        "extension 8-0-0-7",
        "ext. 8007",
        "extension eight zero zero seven",
    ],
    "zero zero seven": ["007", "oh oh seven", "double oh seven", "0-0-7"],
    "double five": ["55", "five five", "5-5"],
    "triple two": ["222", "2-2-2"],
    "you entered s h a w": [
        "You entered S-H-A-W.",
        "you entered SHAW",
        "You entered s-h-a-w",
        "You entered S. H. A. W..",
    ],
    "j o h n": ["J-O-H-N", "JOHN", "J O H N.", "j-o-h n"],
    "message from w a l t e r": ["Message from W-A-L T-E-R", "message from WALTER.", "Message from double U A L T E R"],
    "press two for o w e n": ["Press 2 for O-W-E-N.", "press 2 4 OWEN", "Press two four O W E N"],
    "press eight for a m y": ["Press 8 for A-M-Y", "press 8 for AMY."],
    "to extension nine four two": ["2 Extension 942.", "To extension 942", "two extension 9 4 2"],
    "thirteen hours and twenty six minutes": ["13 hours and 26 minutes."],
    "one second": ["1 second"],
    "twenty eight point eight": ["28.8"],
    "fifty percent": ["50%", "50 percent."],
    "press star": ["Press *"],
    "followed by pound": ["followed by #"],
    "voice over ip": ["Voice over IP.", "voice over I P"],
    "enter your pin": ["Enter your PIN."],
    "asterisk dot org": ["asterisk.org"],
    "you're first in line": ["You're 1st in line.", "You’re first in line"],
    "okay": ["OK.", "Okay,"],
    "message lasts one hundred twenty seconds": ["MESSAGE LASTS 120 SECONDS"],
    "three d audio": ["3D audio"],
    "an hour at noon": ["An hour, at noon!"],
}

APART = [
    ("seventy", "seven"),
    ("fifteen", "fifty"),
    ("five two two", "five two three"),
    ("five two two", "five two"),
    ("seven forty five p m", "7:45 AM"),
    ("seven forty five p m", "7:45"),
    ("five dollars and ten cents", "$5 and $10."),
    ("ten cents", "ten dollars"),
    ("ten minutes", "ten seconds"),
    ("monday march third", "Monday, May 3rd"),
    ("monday march third", "Sunday, March 3rd"),
    ("march third", "March 13th"),
    ("message from j o h n", "Message from John."),
    ("j e n n y", "JENY"),
    ("i am here", "A.M. here"),
    ("five hundred", "five"),
    ("one hundred five", "one hundred fifty"),
    ("to extension two", "extension two"),
    ("eight o'clock", "eight"),
    ("wait for me", "wait four me"),
    ("go to him", "go two him"),
    ("oh no", "zero no"),
]

FORM = {
    "You have 12 new messages.": "you have 1 2 new messages",
    "$1,900.50 at 7:05 p.m.": "1 9 0 0 dollars 5 0 cents at 7 0 5 p m",
    "Thursday, January 21st": "thursday january 2 1",
    "5:00": "5 o'clock",
    "": "",
    " ... ": "",
    "$ $ $": "dollars dollars dollars",
    "don't o'clock 'tis": "don't o'clock tis",
}


@pytest.mark.parametrize(("spoken", "written"), [(s, w) for s, ways in SAME.items() for w in ways])
def test_same_words_are_equal(spoken, written):
    assert canonical(written) == canonical(spoken)


@pytest.mark.parametrize(("spoken", "written"), APART)
def test_different_words_are_not(spoken, written):
    assert canonical(written) != canonical(spoken)


@pytest.mark.parametrize("text", FORM)
def test_form(text):
    assert canonical(text) == FORM[text]


@pytest.mark.parametrize("text", [t for spoken, ways in SAME.items() for t in (spoken, *ways)])
def test_idempotent(text):
    assert canonical(canonical(text)) == canonical(text)


def test_every_cardinal_is_its_digits():
    for n in [*range(3000), *range(3001, 1_000_000, 7919)]:
        words = " ".join(grammar.cardinal(n))
        assert canonical(words) == canonical(f"{n:,}") == canonical(str(n)) == " ".join(str(n)), n


def test_every_price_time_and_date():
    for n in range(2, 100):
        for dollars in (1, 7, 20, 340, 1200):
            words = f"{' '.join(grammar.cardinal(dollars))} dollars and {' '.join(grammar.cardinal(n))} cents"
            assert canonical(words) == canonical(f"${dollars:,}.{n:02d}") == canonical(f"${dollars} and {n} cents")
    for hour in range(1, 13):
        for minute in range(1, 60):
            oh = "oh " if minute < 10 else ""
            words = f"{' '.join(grammar.cardinal(hour))} {oh}{' '.join(grammar.cardinal(minute))} a m"
            assert canonical(words) == canonical(f"{hour}:{minute:02d} AM") == canonical(f"{hour} {minute:02d} a.m.")
    suffix = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
    for day in range(1, 32):
        words = f"may {' '.join(grammar.ordinal(day))}"
        assert canonical(words) == canonical(f"May {day}{suffix.get(day, 'th')}.") == canonical(f"may {day}")


def test_no_two_utterances_fall_together():
    seen: dict[str, str] = {}
    for seed in range(2000):
        text = grammar.utterance(np.random.default_rng(seed)).text
        assert seen.setdefault(canonical(text), text) == text
