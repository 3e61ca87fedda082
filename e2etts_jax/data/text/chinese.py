"""Chinese written forms to words, by wetext, with the few fixes it needs."""

import re

from e2etts_jax.data.text.spoken import say

_DIGITS = "零一二三四五六七八九"
# The library sees only what it has rules for: it escapes quotes and backslashes, and refuses what it doesn't know.
_RUN = re.compile(r"[\u3400-\u9fff0-9A-Za-z .,:%/~$€£¥°+=*-]+")


def read(text: str) -> str:
    """Clean text (NFKC, one line) to words; without digits it stays."""
    text = re.sub(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?![\d,])", lambda m: m[0].replace(",", ""), text)
    text = re.sub(r"第2(?![\d.])", "第二", text)  # not 第两
    # A range; with one more hyphen it is a date, with a leading zero a telephone number.
    text = re.sub(r"(?<![\w.-])([1-9]\d{0,3})-([1-9]\d{0,3})(?![\w.-])", r"\1到\2", text)
    return _RUN.sub(_say, text)


def _say(match: re.Match[str]) -> str:
    run = match[0]
    if not re.search(r"\d", run):
        return run
    words = say(run.strip(), "zh") or re.sub(r"\d", lambda m: _DIGITS[int(m[0])], run.strip())
    head, tail = run[: len(run) - len(run.lstrip())], run[len(run.rstrip()) :]
    return head + words + tail
