"""What people read out: seeded random amounts, prices, telephone numbers, times, dates and spelled names."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from e2etts_jax.data.datasets.numbers.compose import Utterance
from e2etts_jax.data.datasets.numbers.vocabulary import LETTERS, MONTHS, ONES, ORDINALS, TEENS, TENS, WEEKDAYS

Group = tuple[str, ...]
_T = TypeVar("_T")
NAMES = (
    "adam alan alex alice amy andrew ann anna barry ben betty bill bob brian carl carol chris clara dan daniel dave "
    "david dean diana don dylan edward ella emily emma eric erin eva felix frank fred gary george grace greg hannah "
    "harry helen henry hugo ian irene ivan jack jacob james jane jason jeff jenny jerry jim joan joe john josh "
    "joyce judy julia karen karl kate keith kelly ken kevin kim kyle larry laura lee leo lily linda lisa louis lucy "
    "luke lynn marc maria mark martin mary matt max megan mia mike molly nancy neil nick nina noah nora oliver "
    "oscar owen pam paul peter phil quinn rachel ralph ray rita rob robert robin roger ron rosa ruth ryan sally sam "
    "sandra sara sean simon sofia steve sue susan tanya ted teresa tim tina tom tony vera victor walter wanda wayne "
    "wendy will zoe adams allen baker bell brown clark cole cook cooper cox davis diaz evans fisher ford foster fox "
    "garcia gray green hall harris hill howard hughes hunt jones jordan khan king kumar lewis long lopez meyer "
    "miller mills moore morgan murphy nelson owens palmer parker patel perry porter powell price reed reyes rice "
    "ross scott shaw smith stone taylor turner walker ward watson webb west white wilson wood wright young"
).split()


def cardinal(n: int) -> Group:
    """Words of 0 <= n < 1,000,000, the way they are read in the United States: no "and"."""
    if n < 20:
        return ((ONES + TEENS)[n],)
    if n < 100:
        return (TENS[n - n % 10], *(cardinal(n % 10) if n % 10 else ()))
    scale, word = (1000, "thousand") if n >= 1000 else (100, "hundred")
    return (*cardinal(n // scale), word, *(cardinal(n % scale) if n % scale else ()))


def ordinal(n: int) -> Group:
    """Words of a day of the month, 1 to 31."""
    if n <= 20:
        return (ORDINALS[n - 1],)
    return ("thirtieth",) if n == 30 else (TENS[n - n % 10], ORDINALS[n % 10 - 1])


def digits(rng: np.random.Generator, count: int) -> Group:
    """Random digits, read one by one; the first is not zero."""
    return tuple(ONES[rng.integers(1 if i == 0 else 0, 10)] for i in range(count))


def _pick(rng: np.random.Generator, options: Sequence[_T]) -> _T:
    return options[int(rng.integers(len(options)))]


def _clock(rng: np.random.Generator) -> Group:
    hour, half = int(rng.integers(1, 13)), _pick(rng, ["a m", "p m"])
    if rng.random() < 0.1:
        return (*cardinal(hour), _pick(rng, ["o'clock", half]))
    # No "oh five": recognisers write it as a letter, a word or a digit.
    minute = int(rng.integers(10, 60)) if rng.random() < 0.5 else 5 * int(rng.integers(2, 12))
    return (*cardinal(hour), *cardinal(minute), half)


def amount(rng: np.random.Generator) -> tuple[Group, ...]:
    """Plain numbers, counts and durations."""
    count = cardinal(int(rng.integers(2, 60)))
    small = cardinal(int(rng.integers(2, 60)))
    # Longer numbers are read back in pieces: "21,000, 400, 15".
    number = _pick(
        rng,
        [rng.integers(21, 1000), rng.integers(100, 1000), 100 * rng.integers(10, 100), 1000 * rng.integers(10, 1000)],
    )
    return _pick(
        rng,
        [
            (cardinal(int(number)),),
            (cardinal(int(number)),),
            (cardinal(int(number)),),
            (("you have",), (*cardinal(int(rng.integers(2, 1000))), "messages")),
            (("you have",), (*count, "new", "messages")),
            (("this message lasts",), (*count, _pick(rng, ["minutes", "seconds"]))),
            ((*count, "minutes"), ("and", *small, "seconds")),
            ((*cardinal(int(rng.integers(2, 24))), "hours"), ("and", *count, "minutes")),
        ],
    )


def price(rng: np.random.Generator) -> tuple[Group, ...]:
    """Dollars, or dollars and cents; cents often end in nine or five, as prices do."""
    any_cents, nines = int(rng.integers(10, 100)), 10 * int(rng.integers(1, 10)) + 9
    cents = _pick(rng, [any_cents, nines, 5 * int(rng.integers(2, 20)), 99])
    low, high = int(rng.integers(2, 21)), int(rng.integers(21, 100))
    large = int(_pick(rng, [rng.integers(100, 1000), 50 * rng.integers(2, 20), 100 * rng.integers(10, 100)]))
    return _pick(
        rng,
        [
            ((*cardinal(low), "dollars"), ("and", *cardinal(cents), "cents")),
            ((*cardinal(high), "dollars"), ("and", *cardinal(cents), "cents")),
            ((*cardinal(large), "dollars"),),
            ((*cardinal(high), "dollars"),) if rng.random() < 0.3 else ((*cardinal(large), "dollars"),),
        ],
    )


def telephone(rng: np.random.Generator) -> tuple[Group, ...]:
    """Seven digits as three and four, and extensions of three or four digits."""
    extension = digits(rng, int(rng.integers(3, 5)))
    return _pick(
        rng,
        [
            (digits(rng, 3), digits(rng, 4)),
            (digits(rng, 3), digits(rng, 4)),
            (digits(rng, 3), digits(rng, 4)),
            (("extension", *extension),),
            (("to extension",), extension),
            (("message from extension",), extension),
            (("the number i have is",), extension),
            (("you entered",), digits(rng, int(rng.integers(3, 6)))),
        ],
    )


def time(rng: np.random.Generator) -> tuple[Group, ...]:
    """Times of day, alone or with a day."""
    clock = _clock(rng)
    return _pick(
        rng,
        [
            (clock,),
            (("at", *clock),),
            ((_pick(rng, ["today", "tomorrow", "yesterday"]),), ("at", *clock)),
            ((_pick(rng, WEEKDAYS),), ("at", *clock)),
            (("received",), ("at", *clock)),
        ],
    )


def date(rng: np.random.Generator) -> tuple[Group, ...]:
    """Month and day, alone or with the weekday."""
    month = int(rng.integers(12))
    day = (MONTHS[month], *ordinal(int(rng.integers(1, (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[month] + 1))))
    weekday = _pick(rng, WEEKDAYS)
    return _pick(
        rng,
        [
            (day,),
            ((weekday,), day),
            ((weekday,), day),
            (("received",), (weekday,), day),
            ((_pick(rng, ["today", "tomorrow"]), "is"), (weekday,), day),
        ],
    )


def name(rng: np.random.Generator) -> tuple[Group, ...]:
    """A first or last name, spelled; first a letter, then a name that has it, so that rare letters are heard too."""
    letter = _pick(rng, LETTERS)
    letters = tuple(_pick(rng, [name for name in NAMES if letter in name]))
    return _pick(
        rng,
        [
            (letters,),
            (("you entered",), letters),
            (("message", "from"), letters),
            (("extension",), letters),
            (("new", "message", "from"), letters),
            (("received", "from"), letters),
        ],
    )


# Dates and names hold the many words that nothing else says, so they come more often than people say them.
KINDS: dict[str, tuple[float, Callable[[np.random.Generator], tuple[Group, ...]]]] = {
    "amount": (0.17, amount),
    "price": (0.15, price),
    "telephone": (0.14, telephone),
    "time": (0.18, time),
    "date": (0.25, date),
    "name": (0.11, name),
}


def utterance(rng: np.random.Generator) -> Utterance:
    """One random utterance of a random kind."""
    kind = str(rng.choice(list(KINDS), p=[share for share, _ in KINDS.values()]))
    return Utterance(kind, KINDS[kind][1](rng))
