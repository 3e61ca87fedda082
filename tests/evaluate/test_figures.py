"""Pictures of tokens: where they are drawn, and when their ids can be read."""

import re
import xml.etree.ElementTree as xml

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib: the eval extra")
from e2etts_jax.evaluate import figures  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"


def draw(tokens: int, seconds: float = 3.0) -> xml.Element:
    mel = np.random.default_rng(0).standard_normal((max(4, 4 * tokens), 8)).astype(np.float32)
    text = figures.tokens_svg(mel, np.arange(tokens) % 5, seconds)
    return xml.fromstring(text.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1))


def test_tokens_stand_below_their_frames() -> None:
    (image,) = (picture := draw(8)).iter(f"{SVG}image")
    cells = list(picture.iter(f"{SVG}rect"))
    assert [float(cell.get("x")) for cell in cells] == [125.0 * i for i in range(8)]
    assert float(cells[-1].get("x")) + float(cells[-1].get("width")) == float(image.get("width"))
    colours = [cell.get("fill") for cell in cells]
    assert colours[:3] == colours[5:] and len(set(colours)) == 5
    assert picture.findall(f".//{SVG}title")[3].text == "token 4 of 8, at 1.12 s: 3"


@pytest.mark.parametrize(("tokens", "written", "turned"), [(8, 8, 0), (90, 90, 90), (300, 0, 0)])
def test_ids_are_written_where_there_is_room(tokens: int, written: int, turned: int) -> None:
    labels = draw(tokens).findall(f".//{SVG}rect/../{SVG}text")
    assert len(labels) == written and sum("transform" in label.attrib for label in labels) == turned


@pytest.mark.parametrize("seconds", [0.05, 0.2, 2.79, 12.0, 500.0, 5000.0])
def test_the_axis_has_a_few_marks(seconds: float) -> None:
    marks = [text.text for text in draw(4, seconds).findall(f"{SVG}g")[-1]]
    assert marks[0] == "0 s" and len(marks) <= 13
    assert all(re.fullmatch(r"\d+(\.\d)?", mark) and float(mark) <= seconds for mark in marks[1:])


def test_nothing_said_is_a_mel_alone() -> None:
    assert not list(draw(0, 0.2).iter(f"{SVG}rect"))
