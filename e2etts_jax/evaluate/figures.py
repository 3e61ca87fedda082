"""Sound and pictures as data URIs and inline SVG, so that a page needs nothing beside itself."""

import base64
import html
import io
from collections.abc import Sequence

import jax.numpy as jnp
import matplotlib.image
import numpy as np
import soundfile

from e2etts_jax.features import MelConfig, log_mel

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 260, 130, 44, 22, 20  # of one curve, in SVG units
MEL_RANGE = 9.0  # nepers below the loudest bin of the recording
WIDE, MEL, STRIP, AXIS = (
    1000,
    150,
    34,
    22,
)  # of a mel over its tokens, in SVG units: width, and heights from the top down
UPRIGHT, TURNED = 32.0, 9.5  # least width of a token that its id can be written in, across and upwards
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60)  # seconds between the marks of the axis
MARKS = 12  # at most
GOLDEN = 137.508  # degrees: neighbouring ids get colours far apart


def sound_uri(wav: np.ndarray, rate: int) -> str:
    """16-bit FLAC: every browser plays it, nothing of the sound is lost, and it takes half of a WAV."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wav, -1, 1), rate, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(buffer.getvalue()).decode()


def mel_of(wav: np.ndarray, cfg: MelConfig) -> np.ndarray:
    """Log-mel [M, F] of a clip f32[W]."""
    padded = np.pad(wav, (0, -len(wav) % (64 * cfg.hop)))  # few lengths to compile
    return np.asarray(log_mel(jnp.asarray(padded[None]), cfg))[0, : max(1, -(-len(wav) // cfg.hop))]


def mel_uri(mel: np.ndarray, loudest: float) -> str:
    """PNG of a log-mel [M, F], low frequencies at the bottom; black is MEL_RANGE below `loudest`."""
    buffer = io.BytesIO()
    matplotlib.image.imsave(
        buffer, mel.T, vmin=loudest - MEL_RANGE, vmax=loudest, cmap="magma", origin="lower", format="png"
    )
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def curve_svg(title: str, steps: Sequence[int], values: Sequence[float]) -> str:
    """One loss curve with its axes; the numbers at its ends are the range of the values."""
    low, high = min(values), max(values)
    low = 0.0 if 0 < low < 0.3 * high else low
    span = (high - low) or 1.0
    right = max(steps) or 1
    x = [LEFT + (WIDTH - LEFT - 8) * s / right for s in steps]
    y = [TOP + (HEIGHT - TOP - BOTTOM) * (1 - (v - low) / span) for v in values]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    floor = HEIGHT - BOTTOM
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">'
        f'<text x="{LEFT}" y="13" class="title">{html.escape(title)}</text>'
        f'<text x="{WIDTH - 8}" y="13" class="last" text-anchor="end">{values[-1]:.3g}</text>'
        f'<path d="M{LEFT} {TOP}V{floor}H{WIDTH - 8}" class="axis"/>'
        f'<text x="{LEFT - 5}" y="{TOP + 8}" text-anchor="end">{high:.3g}</text>'
        f'<text x="{LEFT - 5}" y="{floor}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 7}">0</text>'
        f'<text x="{WIDTH - 8}" y="{HEIGHT - 7}" text-anchor="end">step {max(steps)}</text>'
        f'<polyline points="{points}" class="line"/></svg>'
    )


def tokens_svg(mel: np.ndarray, ids: Sequence[int] | np.ndarray, seconds: float) -> str:
    """A log-mel [M, F] with its tokens [T] below it on the same time axis, which ends at `seconds`.

    An id always has the same colour. It is written in its token where there is room, about 100 of them; the pointer
    finds it in every one.
    """
    height, cells = MEL + STRIP + AXIS, _cells(ids, seconds, MEL + 3, labels=True)
    step = next((tick for tick in TICKS if seconds / tick <= MARKS), seconds)
    marks = []
    for i in range(int(seconds / step) + 1):
        x, anchor = WIDE * i * step / seconds, "middle" if i else "start"
        unit = " s" if not i else ""
        marks.append(f'<text x="{x:.1f}" y="{height - 5}" text-anchor="{anchor}">{i * step:g}{unit}</text>')
    return (
        f'<svg class="tokens" viewBox="0 0 {WIDE} {height}" role="img" aria-label="log-mel and tokens">'
        f'<image href="{mel_uri(mel, float(mel.max()))}" width="{WIDE}" height="{MEL}" preserveAspectRatio="none"/>'
        f'<g font-size="10" text-anchor="middle" fill="#222">{cells}</g>'
        f'<g font-size="11" fill="currentColor">{"".join(marks)}</g></svg>'
    )


def strip_svg(ids: Sequence[int] | np.ndarray, seconds: float) -> str:
    """Tokens [T] alone, coloured as in `tokens_svg`, to go below a picture of the same `seconds`."""
    cells = _cells(ids, seconds, 0, labels=False)
    shape = f'viewBox="0 0 {WIDE} {STRIP}" preserveAspectRatio="none"'
    return f'<svg class="strip" {shape} role="img" aria-label="{len(ids)} tokens">{cells}</svg>'


def _cells(ids: Sequence[int] | np.ndarray, seconds: float, top: float, *, labels: bool) -> str:
    wide = WIDE / max(1, len(ids))
    cells = []
    for i, token in enumerate(map(int, ids)):
        x, middle = i * wide, top + STRIP / 2
        turn = "" if wide >= UPRIGHT else f' transform="rotate(-90 {x + wide / 2:.1f} {middle:.1f})"'
        label = f'<text x="{x + wide / 2:.1f}" y="{middle + 3.5:.1f}"{turn}>{token}</text>'
        cells.append(
            f"<g><title>token {i + 1} of {len(ids)}, at {i * seconds / len(ids):.2f} s: {token}</title>"
            f'<rect x="{x:.2f}" y="{top}" width="{wide:.2f}" height="{STRIP}"'
            f' fill="hsl({token * GOLDEN % 360:.0f} 60% 78%)"/>{label if labels and wide >= TURNED else ""}</g>'
        )
    return "".join(cells)
