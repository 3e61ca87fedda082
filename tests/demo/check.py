"""Speaks through the page in a headless browser, as a user would:

python tests/demo/check.py --workdir=runs/joint_tiny [--text="..."] [--screenshot=page.png] [--browser=PATH]

Fails if nothing is heard, an error shows, a mistake shows none, or the page asks another server for anything. Needs the
demo extra, playwright and a Chromium.
"""

import argparse
import contextlib
import io
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import soundfile as sf
from playwright.sync_api import Page, expect, sync_playwright

TOAST = ".toast-body"
PATIENCE = 300_000  # ms: programs are compiled


@contextlib.contextmanager
def served(workdir: str) -> Iterator[str]:
    """The address at which `python -m e2etts_jax.demo` answers."""
    command = [sys.executable, "-m", "e2etts_jax.demo", f"--workdir={workdir}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            if not line.startswith("http://127.0.0.1:"):
                raise SystemExit(f"the demo does not start: {line!r}")
            print(line, end="", flush=True)
            yield line.split()[0]
        finally:
            process.terminate()


def heard(page: Page) -> tuple[np.ndarray, int]:
    """Samples and rate of the file behind the download button."""
    with page.expect_download() as download:
        page.get_by_label("Download").click()
    return sf.read(download.value.path())


def speak(page: Page, text: str) -> float:
    """Types, presses, waits for the new picture; seconds that it took."""
    page.evaluate("document.querySelectorAll('svg.tokens').forEach(svg => svg.classList.add('old'))")
    page.get_by_label("Text", exact=True).fill(text)
    begun = time.perf_counter()
    page.get_by_role("button", name="Speak").click()
    page.locator(f"svg.tokens:not(.old), {TOAST}.error").first.wait_for(timeout=PATIENCE)
    return time.perf_counter() - begun


def prompt(page: Page, samples: np.ndarray) -> None:
    """Uploads a recording of 16 kHz in place of the one that is there."""
    clear = page.get_by_label("Clear")
    if clear.count():
        clear.first.click()
    out = io.BytesIO()
    sf.write(out, samples, 16000, format="WAV")
    file = {"name": "prompt.wav", "mimeType": "audio/wav", "buffer": out.getvalue()}
    page.locator("input[type=file]").first.set_input_files(file)
    clear.first.wait_for()
    page.wait_for_timeout(1000)


def refused(page: Page, why: str) -> None:
    """Presses the button and expects an error that says why, and no trace."""
    page.get_by_role("button", name="Speak").click()
    toast = page.locator(f"{TOAST}.error")
    expect(toast).to_contain_text(why, timeout=PATIENCE)
    assert "Traceback" not in toast.inner_text()
    print("refused:", " ".join(toast.inner_text().split()))
    toast.get_by_test_id("toast-close").click()
    expect(toast).to_have_count(0)


def check(page: Page, address: str, text: str, screenshot: str | None) -> None:
    strangers, broken = [], []
    page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else strangers.append(r.url))
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.goto(address)
    for round in range(2):
        took = speak(page, text)
        assert not page.locator(f"{TOAST}.error").count(), page.locator(TOAST).first.inner_text()
        page.wait_for_timeout(2000)  # the player draws its wave
        wav, rate = heard(page)
        assert len(wav) and np.abs(wav).max() > 1e-3, "nothing is heard"
        print(f"{'first' if round == 0 else 'again'}: {len(wav) / rate:.2f} s of sound after {took:.1f} s")
    cells = page.locator("svg.tokens rect").count()
    print(f"{cells} tokens;", " ".join(page.locator(".behind").last.inner_text().split()[-40:]))
    assert cells, "no token is drawn"
    if screenshot:
        page.mouse.move(0, 0)
        page.screenshot(path=screenshot, full_page=True)
    page.get_by_label("Text", exact=True).fill(" ")
    refused(page, "is empty; there is nothing to say")
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_label("What is said in the prompt").fill("nothing")
    refused(page, "words without a recording")
    prompt(page, np.zeros(24000))
    refused(page, "is silent: give a recording of the voice")
    prompt(page, np.random.default_rng(0).uniform(-0.1, 0.1, 24000))
    took = speak(page, text)
    warning = page.locator(f"{TOAST}.warning")
    expect(warning).to_contain_text("in the prompt the reward model reads")
    print(f"after {took:.1f} s:", " ".join(warning.inner_text().split()))
    assert not broken, broken
    assert not strangers, f"the page asks {strangers}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--text", default="received at seven twenty five p m")
    parser.add_argument("--screenshot")
    parser.add_argument("--browser", default="/usr/bin/chromium")
    given = parser.parse_args()
    with served(given.workdir) as address, sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=given.browser, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1120, "height": 820}, color_scheme="light")
        check(page, address, given.text, given.screenshot)
        browser.close()
    print("the page works")


if __name__ == "__main__":
    main()
