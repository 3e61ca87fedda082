"""English written forms to words: a table of patterns; the numbers in them are read by wetext.

The library is given one number, measure or date at a time. Given sentences it escapes quotes, reorders dates, refuses
what it doesn't know ("#1", "+1 555 0123") as a whole, and reads "1990s" as seconds.
"""

import re
import unicodedata
from collections.abc import Callable

from e2etts_jax.data.text.spoken import say

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MONTHS = "January February March April May June July August September October November December".split()
_ABBREVIATIONS = {
    "Mr.": "Mister", "Mrs.": "Missus", "Ms.": "Miz", "Dr.": "Doctor", "Prof.": "Professor", "Jr.": "Junior",
    "Sr.": "Senior", "Sgt.": "Sergeant", "Capt.": "Captain", "Lt.": "Lieutenant", "Col.": "Colonel", "Gen.": "General",
    "Rev.": "Reverend", "Hon.": "Honorable", "Mt.": "Mount", "Ave.": "Avenue", "Rd.": "Road", "Blvd.": "Boulevard",
    "e.g.": "for example", "i.e.": "that is", "etc.": "et cetera", "vs.": "versus", "a.m.": "A M", "p.m.": "P M",
}  # fmt: skip
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
_SYMBOLS = {
    "&": "and", "+": "plus", "=": "equals", "@": "at", "%": "percent", "×": "times", "÷": "divided by",
    "±": "plus or minus", "°": "degrees",
}  # fmt: skip
_ADDRESS = {".": " dot ", "@": " at ", "/": " slash ", ":": " colon ", "-": " dash ", "_": " underscore "}
_UNITS = "km/h|mph|km2|cm2|m2|km|cm|mm|m|kg|mg|g|lbs?|oz|ml|ft|mi|GB|MB|GHz|MHz|kHz|Hz|min|hr|°C|°F|°|%"
_N = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,]*\d)|\d+(?:\.\d+)?"  # 1,234.5 or 1234.5
_SIGN = r"(?<![\w.)])-"


def _spell(digits: str) -> str:
    return " ".join(_WORDS[int(c)] for c in digits if c.isdigit())


def _number(written: str) -> str:
    """A number as a quantity, four digits without a comma as a year."""
    whole, _, part = written.replace(",", "").partition(".")
    if not whole:
        return f"point {_spell(part)}"
    if len(whole) > 12 or len(whole) > 1 and whole[0] == "0":
        words = _spell(whole)
    elif len(whole) == 4 and "," not in written and not part and "1100" <= whole < "2100":
        words = say(whole, "en").replace(" zero ", " oh ") or _spell(whole)
    else:
        # The library reads four digits as a year, forgets the "one" of 1,234 and has "hundred and billion".
        words = re.sub("^thousand", "one thousand", say(f"{int(whole):,}", "en")) or _spell(whole)
        words = re.sub(r"\band (?=thousand|million|billion)", "", words)
    return f"{words} point {_spell(part)}" if part else words


def _ordinal(n: int) -> str:
    end = "th" if 10 < n % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return say(f"{n}{end}", "en")


def _month(name: str) -> str:
    return next(month for month in _MONTHS if month.startswith(name[:3]))


def _date(m: re.Match[str]) -> str:
    return f"{_month(m['month'])} {_ordinal(int(m['day']))}" + (f", {_number(m['year'])}" if m["year"] else "")


def _written_date(m: re.Match[str]) -> str:
    return say(m[0], "en") or " ".join(_number(n) for n in re.findall(r"\d+", m[0]))


def _clock(m: re.Match[str]) -> str:
    minutes = m["minutes"] or "00"
    past = "" if minutes == "00" else "oh " + _number(minutes[1]) if minutes[0] == "0" else _number(minutes)
    return " ".join(filter(None, (_number(str(int(m["hour"]))), past, m["half"].upper() + " M")))


def _time(m: re.Match[str]) -> str:
    words = say(m[0], "en").replace(" o ", " oh ")
    return words or " ".join(_number(n) for n in m[0].split(":"))


def _money(m: re.Match[str]) -> str:
    one, many, small, smalls = _CURRENCIES[m["sign"]]
    minus, whole, part = "minus " if m["minus"] else "", m["whole"], m["part"] or ""
    if m["scale"] or part and (len(part) != 2 or not small):
        number = _number(f"{int(whole.replace(',', '')):,}" + (f".{part}" if part else ""))
        return f"{minus}{number} {m['scale'].strip() + ' ' if m['scale'] else ''}{many}"
    n, cents = int(whole.replace(",", "")), int(part or 0)
    major = f"{_number(f'{n:,}')} {one if n == 1 else many}" if n or not cents else ""
    minor = f"{_number(str(cents))} {small if cents == 1 else smalls}" if cents else ""
    return minus + " and ".join(filter(None, (major, minor)))


def _measure(m: re.Match[str]) -> str:
    unit = {"m": "km", "lb": "lbs", "hr": "h"}.get(m["unit"], m["unit"])
    words = say(f"{'1' if m['number'] == '1' else '2'} {unit}", "en").partition(" ")[2]
    words = words.removeprefix("kilo") if m["unit"] == "m" else words  # the library says minutes
    words = "pound" if m["unit"] == "lb" and m["number"] == "1" else words
    number = m["number"] if "." in m["number"] else f"{int(m['number'].replace(',', '')):,}"
    return f"{'minus ' if m['minus'] else ''}{_number(number)} {words}"


def _decade(m: re.Match[str]) -> str:
    if m["tens"] == "00":
        return "two thousands" if m["century"] == "20" else f"{_number(m['century'] or '0')} hundreds"
    tens = say(f"{m['tens']}s", "en")
    return f"{_number(m['century'])} {tens}" if m["century"] else tens


def _fraction(m: re.Match[str]) -> str:
    if m[0] == "24/7":
        return "twenty four seven"
    return say(m[0], "en") or f"{_number(m['over'])} over {_number(m['under'])}"


def _saint_or_street(m: re.Match[str]) -> str:
    return "Street" if m["name"] is None else "Saint"


_MONTH = r"(?P<month>" + "|".join(f"{m}|{m[:3]}\\b\\.?" for m in _MONTHS) + r"|Sept\b\.?)"
_START, _END = r"(?<![\w.])", r"(?!\w)"
_START_OF_WORD, _END_OF_WORD = r"(?<![^\W\d_])(?<!\.)", r"(?![^\W\d_])"  # a digit may be its neighbour
_ANY_ABBREVIATION = "|".join(re.escape(a) for a in _ABBREVIATIONS)
# In this order: what an earlier row takes, a later one doesn't see. The last rows leave no digit behind.
_RULES: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (r"(?:https?://)?(?:[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?<=//)[\w-]+(?:\.[\w-]+)+[\w/-]*|www(?:\.[\w-]+)+[\w/-]*)",
     lambda m: " ".join("".join(_ADDRESS.get(c, c) for c in re.sub("^https?://", "", m[0])).split())),
    (rf"{_START}(?P<hour>\d{{1,2}})(?::(?P<minutes>[0-5]\d))? ?(?P<half>[apAP])(?:\.[mM]\.|[mM]\b)", _clock),
    (rf"{_START_OF_WORD}(?:{_ANY_ABBREVIATION}){_END_OF_WORD}", lambda m: _ABBREVIATIONS[m[0]]),
    (rf"{_START_OF_WORD}St\.(?P<name>(?= [A-Z]))?{_END_OF_WORD}", _saint_or_street),
    (rf"{_START_OF_WORD}(?:[A-Z]\.){{2,}}{_END_OF_WORD}", lambda m: " ".join(m[0].replace(".", ""))),
    (rf"{_START_OF_WORD}(?:No\. ?|#)(?=\d)", lambda m: "number "),
    (rf"{_START_OF_WORD}Vol\. ?(?=\d)", lambda m: "volume "),
    (r"\+\d[\d ().-]{5,}\d", lambda m: "plus " + _spell(m[0])),
    (r"(?<![\w-])(?:\(\d{3}\) ?|\d{3}[-. ])?\d{3}-\d{4}(?![\w-])", lambda m: _spell(m[0])),
    (rf"{_START}\d{{4}}[-/]\d{{1,2}}[-/]\d{{1,2}}{_END}|{_START}\d{{1,2}}/\d{{1,2}}/\d{{4}}{_END}", _written_date),
    (rf"{_START}{_MONTH} (?P<day>[12]\d|3[01]|0?[1-9])(?:st|nd|rd|th)?(?![\w:.]\d|\w|,\d)"
     rf"(?:,? (?P<year>\d{{4}}){_END})?", _date),
    (rf"{_START}(?:{'|'.join(m[:3] for m in _MONTHS)}|Sept)\.(?= \d)", lambda m: _month(m[0])),
    (rf"{_START}\d{{1,2}}:[0-5]\d(?::[0-5]\d)?{_END}", _time),
    (rf"(?P<minus>{_SIGN})?(?P<sign>[$€£¥₹]) ?(?P<whole>\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.(?P<part>\d+))?"
     r"(?P<scale> (?:hundred|thousand|million|billion|trillion)\b)?", _money),
    (rf"{_START}(?P<century>1[1-9]|20)?(?P<tens>[1-9]0|(?<=\d)00)'?s\b", _decade),
    (r"(?<![\w.,])(?P<n>\d{1,3}(?:,\d{3})+|\d{1,12})(?:st|nd|rd|th)\b",
     lambda m: _ordinal(int(m["n"].replace(",", "")))),
    (rf"(?P<minus>{_SIGN})?(?<![\w.,])(?P<number>{_N}) ?(?P<unit>{_UNITS})(?![\w/])", _measure),
    (rf"(?<![\w.,])(?P<number>{_N})¢", lambda m: f"{_number(m['number'])} cent{'s' if m['number'] != '1' else ''}"),
    (r"(?<![\w./])(?:\d+ )?(?P<over>\d+)/(?P<under>[1-9]\d*)(?![\w/]|\.\d)", _fraction),
    (rf"(?<![\w.,-])(?P<a>{_N})[-–](?P<b>{_N})(?![\w-])", lambda m: f"{_number(m['a'])} to {_number(m['b'])}"),
    (r"\d+(?:\.\d+){2,}", lambda m: " dot ".join(_number(n) for n in m[0].split("."))),
    (rf"(?P<minus>{_SIGN})?(?P<number>{_N}|(?<![\w.])\.\d+)",
     lambda m: ("minus " if m["minus"] else "") + _number(m["number"])),
    ("[" + "".join(re.escape(c) for c in _SYMBOLS) + "]+", lambda m: " ".join(_SYMBOLS[c] for c in m[0])),
]  # fmt: skip
_COMPILED = [(re.compile(pattern), words) for pattern, words in _RULES]


# "9,5" and "and/or" must not become one word when a tokenizer drops the punctuation between them.
_TIGHT = re.compile(r"(?<=\w)([/,:;*|\\…]+)(?=\w)")


def _glued(after: str) -> bool:
    """Whether a word put before `after` would run into it."""
    c, following = after[:1], after[1:2]
    return c.isalnum() or c != "" and unicodedata.category(c)[0] == "M" or c == "." and following.isalnum()


def read(text: str) -> str:
    """Clean text (NFKC, one line) to words. Nothing that is made here is a written form again."""
    if text.isalpha():
        return text
    for pattern, words in _COMPILED:

        def spaced(m: re.Match[str], words: Callable[[re.Match[str]], str] = words) -> str:
            before, after = m.string[max(0, m.start() - 2) : m.start()], m.string[m.end() : m.end() + 2]
            return (" " if _glued(before[::-1]) else "") + words(m) + (" " if _glued(after) else "")

        text = pattern.sub(spaced, text)
    return _TIGHT.sub(r"\1 ", text)
