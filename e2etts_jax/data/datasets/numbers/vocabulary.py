"""Which recording says which word. Recognisers read every unit back, alone or in a clip, before it got here."""

ONES = "zero one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty", 60: "sixty", 70: "seventy", 80: "eighty", 90: "ninety"}
ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
WEEKDAYS = "sunday monday tuesday wednesday thursday friday saturday".split()
MONTHS = "january february march april may june july august september october november december".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"

# Carrier phrases, recorded in one breath.
PHRASES = {
    "you have": "vm-youhave",
    "this message lasts": "vm-duration",
    "the number i have is": "vm-num-i-have",
    "message from extension": "vm-from-extension",
    "to extension": "to-extension",
    "you entered": "you-entered",
}

KEYS = (
    {word: f"digits/{n}" for n, word in enumerate(ONES + TEENS)}
    | {word: f"digits/{n}" for n, word in TENS.items()}
    | {word: f"digits/h-{n}" for n, word in enumerate(ORDINALS, start=1)}
    | {"thirtieth": "digits/h-30"}
    | {word: f"digits/day-{n}" for n, word in enumerate(WEEKDAYS)}
    | {word: f"digits/mon-{n}" for n, word in enumerate(MONTHS)}
    | {letter: f"letters/{letter}" for letter in LETTERS}
    | {word: f"digits/{word}" for word in ("hundred", "thousand", "dollars", "at", "today", "tomorrow", "yesterday")}
    | {"a m": "digits/a-m", "p m": "digits/p-m", "o'clock": "digits/oclock", "cents": "cents", "and": "vm-and"}
    | {"hours": "hours", "minutes": "minutes", "seconds": "seconds", "messages": "vm-messages", "new": "vm-INBOX"}
    | {"received": "vm-received", "is": "is", "from": "vm-from", "message": "vm-message"}
    | {"extension": "vm-extension"}
    | PHRASES
)
