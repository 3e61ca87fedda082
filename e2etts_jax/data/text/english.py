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
_ABBREVIATIONS = {  # those without a full stop are written with one, too
    "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Jr": "Junior", "etc": "et cetera", "vs": "versus", "Sr.": "Senior",
    "Prof.": "Professor", "Sgt.": "Sergeant", "Capt.": "Captain", "Lt.": "Lieutenant", "Col.": "Colonel",
    "Gen.": "General", "Maj.": "Major", "Rev.": "Reverend", "Hon.": "Honorable", "Gov.": "Governor", "Sen.": "Senator",
    "Mt.": "Mount", "Ave.": "Avenue", "Rd.": "Road", "Blvd.": "Boulevard", "Dept.": "Department", "Ltd.": "Limited",
    "Corp.": "Corporation", "Inc.": "Incorporated", "Ph.D.": "P H D", "a.m.": "A M", "p.m.": "P M",
    "e.g.": "for example", "E.g.": "For example", "i.e.": "that is", "I.e.": "That is", "a.k.a.": "also known as",
    "approx.": "approximately",
}  # fmt: skip
_BEFORE_A_NUMBER = {
    "no": "number", "nos": "numbers", "vol": "volume", "p": "page", "pp": "pages", "ch": "chapter", "fig": "figure",
    "apt": "apartment", "ca": "circa", "#": "number",
}  # fmt: skip
# Lists, for capitals alone do not tell "Visit St. Ives" from "Main St. Bridge", "Henry II" from "Rocky II".
_ROADS = {"St": "Street", "Dr": "Drive"}
_NO_ROADS = "The|And|But|In|At|On|To|Of|For|From|By|Near|With|Visit|Our|Dear|Hello|Hi|Thanks|Mount|Fort|Port|Lake|Cape"
_SAINTS = (
    "Albans|Andrews?|Anne?|Anthony|Augustine|Bernard|Catherine|Charles|Clair|David|Edmunds|Francis|George|Helena|"
    "Helens|Ives|James|Johns?|Joseph|Jude|Kilda|Kitts|Lawrence|Louis|Lucia|Luke|Mark|Martin|Mary|Matthew|Michael|"
    "Moritz|Nicholas|Pancras|Patrick|Paul|Peter|Petersburg|Stephen|Thomas|Tropez|Valentine|Vincent"
)
_RULERS = (
    "Alexander|Alfonso|Benedict|Catherine|Charles|Christian|Edward|Elizabeth|Ferdinand|Francis|Frederick|George|Gregory|"
    "Henry|James|John|Leo|Leopold|Louis|Mary|Napoleon|Nicholas|Otto|Paul|Peter|Philip|Pius|Richard|Wilhelm|William"
)
_COUNTED = "Act|Article|Book|Bowl|Chapter|Class|Level|Mark|Part|Phase|Scene|Section|Stage|Table|Type|Volume|War"
_ROMAN = [t + o for t in ("", "X", "XX", "XXX", "XL", "L") for o in " I II III IV V VI VII VIII IX".split(" ")]
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
_SCALES = {"k": "thousand", "m": "million", "b": "billion", "t": "trillion"}
_SYMBOLS = {
    "&": "and", "+": "plus", "=": "equals", "@": "at", "%": "percent", "×": "times", "÷": "divided by",
    "±": "plus or minus", "°": "degrees",
}  # fmt: skip
_ADDRESS = {".": " dot ", "@": " at ", "/": " slash ", ":": " colon ", "-": " dash ", "_": " underscore "}
_UNITS = "km/h|mph|m/s|[kc]?m2|[kcm]?m|sq ft|[km]?g|lbs?|oz|ml|ft|mi|[TGM]B|[GM]B/s|Mbps|[GMk]?Hz|mins?|hrs?|°[CF]?|%"
_N = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,]*\d)|\d+(?:\.\d+)?"  # 1,234.5 or 1234.5
_SIGN = r"(?<![\w.)%°])-"


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


def _quantity(written: str) -> str:
    """A number that can't be a year."""
    return _number(written if "." in written else f"{int(written.replace(',', '')):,}")


def _ordinal(n: int) -> str:
    end = "th" if 10 < n % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return say(f"{n}{end}", "en")


def _month(name: str) -> str:
    return next(month for month in _MONTHS if month.startswith(name[:3]))


def _date(m: re.Match[str]) -> str:
    day = _ordinal(int(m["day"])) + (f" to {_ordinal(int(m['until']))}" if m["until"] else "")
    year = f"{m['comma']} {_number(m['year'])}" if m["year"] else ""
    if m.start("day") > m.start("month"):
        return f"{_month(m['month'])} {day}{year}"
    return f"{m['article'] or 'the '}{day} of {_month(m['month'])}{year}"


def _clock(m: re.Match[str]) -> str:
    minutes = m["minutes"] or "00"
    past = "" if minutes == "00" else "oh " + _number(minutes[1]) if minutes[0] == "0" else _number(minutes)
    return " ".join(filter(None, (_number(str(int(m["hour"]))), past, m["half"].upper() + " M")))


def _digits(m: re.Match[str]) -> str:
    """A date or a time in digits."""
    return say(m[0], "en").replace(" o ", " oh ") or " ".join(_number(n) for n in re.findall(r"\d+", m[0]))


def _money(m: re.Match[str]) -> str:
    one, many, small, smalls = _CURRENCIES[m["sign"]]
    minus, land, whole = "minus " if m["minus"] else "", "U S " if m["US"] else "", m["whole"].replace(",", "")
    part, until, scale = m["part"] or "", m["until"], (m["scale"] or "").strip()
    if until or scale or part and (len(part) != 2 or not small):
        number = _quantity(whole + (m["point"] or "")) + (f" to {_quantity(until)}" if until else "")
        word = scale.strip("-") if len(scale) > 2 else _SCALES.get(scale[:1].lower(), "")
        # "a $5-million deal": an adjective
        return f"{minus}{number} {word}{' ' if word else ''}{land}{one if scale[:1] == '-' else many}"
    n, cents = int(whole), int(part or 0)
    major = f"{_quantity(whole)} {land}{one if n == 1 else many}" if n or not cents else ""
    minor = f"{_number(str(cents))} {small if cents == 1 else smalls}" if cents else ""
    return minus + " and ".join(filter(None, (major, minor)))


def _measure(m: re.Match[str]) -> str:
    known = {"m": "km", "m/s": "km/s", "lb": "lbs", "mins": "min", "hr": "h", "hrs": "h", "kHz": "khz"}
    unit = known.get(m["unit"], m["unit"])
    words = say(f"{'1' if m['number'] == '1' else '2'} {unit}", "en").partition(" ")[2]
    words = words.removeprefix("kilo") if m["unit"] in ("m", "m/s") else words  # the library says minutes
    words = "pound" if m["unit"] == "lb" and m["number"] == "1" else words
    return f"{'minus ' if m['minus'] else ''}{_quantity(m['number'])} {words}"


def _decade(m: re.Match[str]) -> str:
    if m["tens"] == "00":
        return "two thousands" if m["century"] == "20" else f"{_number(m['century'] or '0')} hundreds"
    tens = say(f"{m['tens']}s", "en")
    return f"{_number(m['century'])} {tens}" if m["century"] else tens


def _fraction(m: re.Match[str]) -> str:
    over, under = int(m["over"]), int(m["under"])
    if m[0] in ("24/7", "9/11", "50/50"):
        return f"{_number(m['over'])} {_number(m['under'])}"
    words = "" if over > under > 9 else say(m[0], "en")  # "130/80" is a blood pressure
    return words or f"{_number(m['over'])} over {_number(m['under'])}"


def _roman(m: re.Match[str]) -> str:
    name, roman, rest = m["name"], m["roman"], m.string[m.end() :]
    pronoun = roman == "I" and name != "World War" and (name.islower() or re.match(r"['\u2019](?!s\b)| [a-z]", rest))
    if pronoun or m["ruler"] and len(roman) == 1 and re.match(r"\. [A-Z]", rest):  # or the initial of a name
        return m[0]
    n = _ROMAN.index(roman)
    return f"{name} the {_ordinal(n)}" if m["ruler"] else f"{name} {_number(str(n))}"


_START, _END = r"(?<![\w.])", r"(?!\w)"
_START_OF_WORD, _END_OF_WORD = r"(?<![^\W\d_])(?<!\.)", r"(?![^\W\d_])"  # a digit may be its neighbour
_ANY_ABBREVIATION = "|".join(re.escape(a) if a[-1] == "." else rf"{a}{_END_OF_WORD}\.?" for a in _ABBREVIATIONS)
_MONTH = r"(?P<month>" + "|".join(f"{m}|{m[:3]}\\b\\.?" for m in _MONTHS) + r"|Sept\b\.?)"
_DAY = r"(?:[12]\d|3[01]|0?[1-9])"
_DAYS = rf"(?P<day>{_DAY})(?:st|nd|rd|th)?(?:[-–](?P<until>{_DAY})(?:st|nd|rd|th)?)?"
_YEAR = rf"(?:(?P<comma>,?) (?P<year>\d{{4}}){_END})?"
_NAME = r"[A-Z][\w'\u2019-]+"
# A year is no house number: "in 2019 Chancellor Dr. Merkel".
_HOUSE = rf"(?!(?:1[89]|20)\d\d )\d+[A-Z]? (?:{_NAME} |[NSEW]\.? )*{_NAME}|\d+(?:st|nd|rd|th)"
_STREET = rf"St(?!\.? (?:{_SAINTS})\b)"
_SCALE = r"(?:[ -](?:hundred|thousand|million|billion|trillion|lakh|crore)|[kKmMbBT]|MM| ?[mbt]n| [mM])(?!\w)"
_TAIL = rf"(?: ?(?:{_UNITS}|[apAP]\.?[mM]\b\.?)|s|st|nd|rd|th|[kKM]|bn)?"  # what may follow a number of a range
# In this order: what an earlier row takes, a later one doesn't see. The last rows leave no digit behind.
_RULES: list[tuple[str, Callable[[re.Match[str]], str]]] = [
    (r"(?:(?<![^\W\d_])https?://)?(?:[\w.+-]+@[\w-]+(?:\.[\w-]+)+|(?<=//)[\w-]+(?:\.[\w-]+)+[\w/-]*|"
     r"(?<![^\W\d_])www(?:\.[\w-]+)+[\w/-]*|"
     rf"\b(?:\w+[.-])*\w+\.(?:com|org|net|edu|gov|co\.uk){_END_OF_WORD}(?:/[\w/-]*)?)",
     lambda m: " ".join("".join(_ADDRESS.get(c, c) for c in re.sub("^https?://", "", m[0])).split())),
    (r"\+\d(?:(?:[-.) ]|\)[- ]|[- ]?\()?\d){6,}", lambda m: "plus " + _spell(m[0])),
    # "100-1000" is a range, "100 200 3000" a list.
    (r"(?<![\w.-])(?!(?:\d\d0 )*\d\d0[- ]\d\d00)"
     r"(?:(?:1[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]|\d{3}-)\d{4}(?![\w-])",
     lambda m: " ".join("eight hundred" if n == "800" else _spell(n) for n in re.findall(r"\d+", m[0]))),
    (rf"{_START}\d{{4}}[-/]\d{{1,2}}[-/]\d{{1,2}}{_END}|{_START}\d{{1,2}}/\d{{1,2}}/\d{{4}}{_END}", _digits),
    (rf"(?P<article>\b(?:[Tt]he|[Aa]|[Tt]his|[Tt]hat|[Ee]very|[Ee]ach|[Ll]ast|[Nn]ext) )?(?<![\w.,:/#$€£¥₹-]){_DAYS} "
     rf"{_MONTH}{_END}{_YEAR}", _date),
    (rf"{_START}{_MONTH} {_DAYS}(?![:.]\d|\w|,\d| ?(?:{_UNITS}|[ap]\.?m)(?!\w)| percent){_YEAR}",
     _date),
    (rf"{_START}(?:{'|'.join(m[:3] for m in _MONTHS)}|Sept)\.(?= \d)", lambda m: _month(m[0])),
    (rf"{_START}(?:(?i:{'|'.join(_BEFORE_A_NUMBER)})\. ?|#)(?=\d)",
     lambda m: _BEFORE_A_NUMBER[m[0].lower().rstrip(". ")]),
    # Both ends of a range, before a unit or a time hides the digit.
    (rf"(?<![\w.,/$€£¥₹-])((?:\d+:\d\d|{_N}){_TAIL})[-–](?=(?>\d+:\d\d|{_N}){_TAIL}(?!\w|[-–/]\d))",
     lambda m: f"{m[1]} to"),
    (r"(?:(?<=\d)|(?<=\d[kKmMbBT])|(?<=\d[mbt]n))[-–](?=(?:US)?[$€£¥₹]\d)", lambda m: "to"),
    (rf"{_START}(?P<hour>\d{{1,2}})(?::(?P<minutes>[0-5]\d))? ?(?P<half>[apAP])(?:\.[mM]\.|[mM]\b)", _clock),
    (rf"{_START_OF_WORD}(?:{_ANY_ABBREVIATION}){_END_OF_WORD}",
     lambda m: _ABBREVIATIONS.get(m[0]) or _ABBREVIATIONS[m[0].rstrip(".")]),
    (rf"{_START_OF_WORD}(?:[A-Z]\.){{2,}}{_END_OF_WORD}", lambda m: " ".join(m[0].replace(".", ""))),
    # Roads follow a house number, or a name when no person's comes next.
    (rf"{_START}({_HOUSE}) ({_STREET}|Dr){_END_OF_WORD}\.?{_END_OF_WORD}", lambda m: f"{m[1]} {_ROADS[m[2]]}"),
    (rf"{_START}(?!(?:{_NO_ROADS}) )({_NAME}) ({_STREET}|Dr(?!\. (?:[A-Z]|(?:d[aeiu]|van|von)\b)))\.{_END_OF_WORD}",
     lambda m: f"{m[1]} {_ROADS[m[2]]}"),
    (rf"{_START_OF_WORD}Dr(?:\.{_END_OF_WORD}|(?= [A-Z]))", lambda m: "Doctor"),
    (rf"{_START_OF_WORD}St(?:\.(?= [A-Z])|(?= (?:{_SAINTS})\b))", lambda m: "Saint"),
    (rf"{_START_OF_WORD}St\.{_END_OF_WORD}", lambda m: "Street"),
    (rf"{_START_OF_WORD}(?P<name>(?P<ruler>{_RULERS})|World War|(?i:{_COUNTED})) "
     rf"(?P<roman>{'|'.join(n for n in _ROMAN if n not in ('', 'X', 'L'))}){_END_OF_WORD}(?!\.[^\W\d_])", _roman),
    (rf"{_START}\d{{1,2}}:[0-5]\d(?::[0-5]\d)?{_END}", _digits),
    (r"(?<![\w.,'])(\d{1,2})['\u2019\u2032] ?(1[01]|\d)(?:[\"”]|''|\u2032\u2032)",
     lambda m: f"{_number(m[1])} foot {_number(m[2])}"),
    (rf"(?<![\w.,])({_N}) ?([$€£¥₹])(?! ?\d)", lambda m: f"{m[2]}{m[1]}"),
    (r"(?:(?<=\d)|(?<=\d[kKmMB%])|(?<=illion))/(?=(?:day|night|week|month|year|hour|person)\b)", lambda m: "per"),
    (rf"(?P<minus>{_SIGN})?(?:{_START_OF_WORD}(?P<US>US))?(?P<sign>[$€£¥₹]) ?"
     r"(?P<whole>\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?P<point>\.(?P<part>\d+))?"
     rf"(?:[-–](?P<until>{_N})(?=(?:{_SCALE})?(?![\w-])))?(?P<scale>{_SCALE})?", _money),
    (rf"{_START}(?P<century>1[1-9]|20)?(?P<tens>[1-9]0|(?<=\d)00)['\u2019]?s\b", _decade),
    (r"(?<![\w.,])(?P<n>\d{1,3}(?:,\d{3})+|\d{1,12})(?:st|nd|rd|th)\b",
     lambda m: _ordinal(int(m["n"].replace(",", "")))),
    (rf"(?P<minus>{_SIGN})?(?<![\w.,])(?P<number>{_N}) ?(?P<unit>{_UNITS})(?![\w/])", _measure),
    (rf"(?<![\w.,])(?P<number>{_N})¢", lambda m: f"{_number(m['number'])} cent{'s' if m['number'] != '1' else ''}"),
    (r"(?<![\w./])(?:\d+ )?(?P<over>\d{1,3})/(?P<under>[1-9]\d*)(?![\w/]|\.\d)", _fraction),
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
    for pattern, words in _COMPILED:

        def spaced(m: re.Match[str], words: Callable[[re.Match[str]], str] = words) -> str:
            before, after = m.string[max(0, m.start() - 2) : m.start()], m.string[m.end() : m.end() + 2]
            return (" " if _glued(before[::-1]) else "") + words(m) + (" " if _glued(after) else "")

        text = pattern.sub(spaced, text)
    return _TIGHT.sub(r"\1 ", text)
