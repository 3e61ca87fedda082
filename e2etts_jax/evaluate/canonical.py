"""One canonical form for spoken numbers, so that writing conventions do not count as recognition errors.

A reference holds the words that were spoken ("nineteen dollars and ninety five cents"); a recogniser writes the same
speech in many ways ("$19.95", "19 dollars and 95 cents", "nineteen ninety-five"). `canonical` maps both to lower-case
words in which every number is a row of single digits: "1 9 dollars 9 5 cents". Error rates are counted on these tokens.

Conflated by design, because writing does not keep the difference:
  * grouping: "five twenty two", "five hundred twenty two", "five two two" and "522";
    so also "twenty" and "two zero", "seven thirty two" and "seventy three two";
  * cardinal and ordinal: "march third" and "march three" ("March 3"); "twenty second" is 22 either way;
  * "oh" and "zero"; "for", "to", "too", "won", "ate" and the digits they sound like, but only next to a number;
  * "one hundred", "a hundred" and "hundred"; "and" inside a number, and between dollars and cents;
  * "dollar" and "dollars", "cent" and "cents"; a full hour and "o'clock"; "7.25 pm" and "seven twenty five p m".
Kept apart: seven and seventy (7, 70), fifteen and fifty (15, 50), a m and p m, minutes and seconds, and a name spelled
("J-O-H-N", "JOHN" -> "j o h n") from the name spoken ("John" -> "john").
"""

import re
import unicodedata

ONES = "zero one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SMALL = {word: n for n, word in enumerate(ONES + TEENS)} | {word: 10 * n for n, word in enumerate(TENS, start=2)}
SCALES = {"hundred": 100, "thousand": 1000, "million": 1_000_000}
_IRREGULAR = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
_IRREGULAR |= {"twelve": "twelfth"} | {word: word[:-1] + "ieth" for word in TENS}
ORDINALS = {_IRREGULAR.get(word, word + "th"): word for word in [*SMALL, *SCALES]}
HOMOPHONES = {"for": "four", "to": "two", "too": "two", "won": "one", "ate": "eight"}
REPEATS = {"double": 2, "triple": 3}
MONTHS = "january february march april may june july august september october november december".split()
MONTH_OF = {month[:3]: month for month in MONTHS} | {"sept": "september"}
WEEKDAYS = "sunday monday tuesday wednesday thursday friday saturday".split()
WEEKDAY_OF = {day[:3]: day for day in WEEKDAYS} | {"tues": "tuesday", "thur": "thursday", "thurs": "thursday"}
WORDS = {"dollar": "dollars", "cent": "cents", "okay": "ok", "ext": "extension", "www": "w w w", "pm": "p m"}
WORDS |= {name: " ".join(name) for name in ("iax", "id", "ip", "ivr", "mgcp", "pbx", "tv", "usb")}
SPOKEN_CAPITALS = frozenset({"DAHDI", "OK", "PIN", "SIP"})  # capitals that are said as words, not letter by letter
SYMBOLS = {"%": " percent ", "#": " pound ", "*": " star ", "&": " and ", "¢": " cents ", "’": "'", "@": " at "}

_HALF = r"(?=\s*[ap]\.?\s?m\b)"  # followed by "a m" or "p m"


def canonical(text: str) -> str:
    """The canonical form of a transcript: lower-case words and single digits, separated by single spaces.

    Idempotent, and a function of the one text alone: it never looks at what it will be compared with.
    """
    tokens = _written(_spell_capitals(unicodedata.normalize("NFKC", text))).split()
    tokens = " ".join(WORDS.get(t, t) for t in tokens).split()
    tokens = _cardinals(tokens)
    tokens = _repeats(_zeros(tokens))
    tokens = _homophones(tokens)
    tokens = _dates(_halves(tokens))
    digits = _digits(tokens)
    return re.sub(r"\bdollars and (?=\d)", "dollars ", " ".join(digits))


def _spell_capitals(text: str) -> str:
    """'JOHN' -> 'J O H N', unless the whole text is in capitals."""
    if not re.search("[a-z]", text) and len(re.findall("[A-Z]{2,}", text)) > 1:
        return text
    return re.sub(r"\b[A-Z]{2,}\b", lambda m: m[0] if m[0] in SPOKEN_CAPITALS else " ".join(m[0]), text)


def _written(text: str) -> str:
    """Symbols, money, times and decimals as words; what is left is [a-z0-9'] and spaces."""
    text = text.lower()
    for symbol, word in SYMBOLS.items():
        text = text.replace(symbol, word)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"\bo['`]?\s?clock\b", "o'clock", text)
    text = _money(text)
    text = re.sub(
        r"\b(\d{1,2}):(\d\d)\b",
        lambda m: _clock(m, "" if re.match(r"\s*o'clock", text[m.end() :]) else " o'clock"),
        text,
    )
    text = re.sub(rf"\b(\d{{1,2}})[.](\d\d){_HALF}", lambda m: _clock(m, ""), text)
    text = re.sub(r"(?<=\bat )(\d{1,2})\.(\d\d)\b", lambda m: _clock(m, " o'clock"), text)
    text = re.sub(rf"\b(\d{{1,2}}) ?00{_HALF}", r"\1", text)
    text = re.sub(rf" o'clock{_HALF}", "", text)
    text = re.sub(r"\d+(?:\.\d+){2,}", lambda m: m[0].replace(".", " "), text)
    text = re.sub(r"(?<=\d)\.(?=\d)", " point ", text)
    text = re.sub(r"\b(\d+)(?:st|nd|rd|th)\b", r"\1", text)
    text = re.sub(r"(?<=[a-z])\.(?=[a-z]{2})", " dot ", text)
    text = re.sub(r"(?<=\d)(?=[a-z])|(?<=[a-z])(?=\d)", " ", text)
    return re.sub(r"(?<![a-z])'|'(?![a-z])", " ", re.sub(r"[^a-z0-9' ]+", " ", text))


def _clock(match: re.Match, full_hour: str) -> str:
    hour, minute = str(int(match[1])), match[2]
    return f" {hour}{full_hour} " if minute == "00" else f" {hour} {minute} "


def _money(text: str) -> str:
    """'$5.22' -> '5 dollars 22 cents'. '$75 cents' is a recogniser's way to write '75 cents'."""

    def amount(match: re.Match) -> str:
        dollars, cents = int(match[1] or 0), int(match[2])
        parts = [f"{dollars} dollars"] * (dollars > 0 or cents == 0) + [f"{cents} cents"] * (cents > 0)
        return f" {' '.join(parts)} "

    text = re.sub(r"\$\s*(\d+(?:\.\d+)?) (hundred|thousand|million)\b", r" \1 \2 dollars ", text)
    text = re.sub(r"\$\s*(\d*)\.(\d\d)\b(?:\s*dollars?\b)?", amount, text)
    text = re.sub(r"\$\s*(\d+)(?=\s*cents?\b)", r" \1 ", text)
    text = re.sub(r"\$\s*(\d+(?:\.\d+)?)(?:\s*dollars?\b)?", r" \1 dollars ", text)
    return text.replace("$", " dollars ")


def _is_number(token: str) -> bool:
    return token.isdigit() or token in SMALL or token in SCALES


def _near(tokens: list[str], i: int) -> bool:
    """Whether a number stands right before or after token i."""
    return any(0 <= j < len(tokens) and _is_number(tokens[j]) for j in (i - 1, i + 1))


def _cardinals(tokens: list[str]) -> list[str]:
    """Ordinals as cardinals. 'second' after a number that it cannot continue is the unit of time."""
    out: list[str] = []
    for token in tokens:
        unit = token == "second" and out and _is_number(out[-1]) and out[-1] not in TENS
        out.append(token if unit else ORDINALS.get(token, token))
    return out


def _zeros(tokens: list[str]) -> list[str]:
    """'oh' and 'o' as zero beside a number, from the left and then from the right, but not beside a letter."""
    out = list(tokens)
    for i in [*range(len(out)), *reversed(range(len(out)))]:
        letter_follows = i + 1 < len(out) and re.fullmatch("[a-z]", out[i + 1]) and out[i + 1] != "o"
        if out[i] in ("oh", "o") and _near(out, i) and not letter_follows:
            out[i] = "zero"
    return out


def _repeats(tokens: list[str]) -> list[str]:
    """'double five' -> 'five five', 'double u' -> 'w'."""
    out: list[str] = []
    times = 1
    for i, token in enumerate(tokens):
        following = tokens[i + 1] if i + 1 < len(tokens) else ""
        if token in REPEATS and (following in ONES or re.fullmatch(r"\d", following)):
            times = REPEATS[token]
        elif token in ("u", "you") and out and out[-1] == "double":
            out[-1] = "w"
        else:
            out += [token] * times
            times = 1
    return out


def _homophones(tokens: list[str]) -> list[str]:
    """'for' next to a number -> 'four', and so on; 'two' before 'extension', where no number can stand -> 'to'."""
    out = [HOMOPHONES.get(t, t) if _near(tokens, i) else t for i, t in enumerate(tokens)]
    return ["to" if t in ("two", "2") and out[i + 1 : i + 2] == ["extension"] else t for i, t in enumerate(out)]


def _halves(tokens: list[str]) -> list[str]:
    """'am' after a number -> 'a m'."""
    return [p for i, t in enumerate(tokens) for p in (("a", "m") if t == "am" and i and _near(tokens[:i], i) else (t,))]


def _dates(tokens: list[str]) -> list[str]:
    """Full names for abbreviated months before a number, and for abbreviated weekdays before a month."""
    out = list(tokens)
    for i in reversed(range(len(out) - 1)):
        if _is_number(out[i + 1]):
            out[i] = MONTH_OF.get(out[i], out[i])
        elif out[i + 1] in MONTHS:
            out[i] = WEEKDAY_OF.get(out[i], out[i])
    return out


def _digits(tokens: list[str]) -> list[str]:
    """Every number as single digits."""
    out: list[str] = []
    i = 0
    while i < len(tokens):
        if tokens[i] == "a" and i + 1 < len(tokens) and tokens[i + 1] in SCALES:
            i += 1
        number, end = _number(tokens, i)
        out += number or [tokens[i]]
        i = max(end, i + 1)
    return out


def _number(tokens: list[str], i: int) -> tuple[str, int]:
    """The longest number at i as a string of digits, and the index after it; ('', i) where there is none."""
    digits, end = _below_hundred(tokens, i)
    if not digits and (i == len(tokens) or tokens[i] not in SCALES):
        return "", i
    for word, scale in SCALES.items():
        if tokens[end : end + 1] == [word]:
            value, end = int(digits or 1) * scale, end + 1
            start = end + (tokens[end : end + 1] == ["and"])
            rest, rest_end = _number(tokens, start)
            # "one hundred three hundred" is two numbers, "two hundred three thousand" is one.
            if scale == 100 and rest:
                rest, rest_end = _below_hundred(tokens, start)
                if tokens[rest_end : rest_end + 1] == ["hundred"]:
                    rest = ""
            if rest and rest[0] != "0" and int(rest) < scale:
                value, end = value + int(rest), rest_end
            digits = str(value)
    return digits, end


def _below_hundred(tokens: list[str], i: int) -> tuple[str, int]:
    """'forty five', 'seven' or digits as written, with the index after it."""
    token = tokens[i] if i < len(tokens) else ""
    if token.isdigit():
        return token, i + 1
    if token not in SMALL:
        return "", i
    follows = tokens[i + 1] if i + 1 < len(tokens) else ""
    if token in TENS and follows in ONES[1:]:
        return str(SMALL[token] + SMALL[follows]), i + 2
    return str(SMALL[token]), i + 1
