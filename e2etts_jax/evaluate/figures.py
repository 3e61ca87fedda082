"""Sound and pictures as data URIs and inline SVG, so that a page needs nothing beside itself."""

import base64
import html
import io
from collections.abc import Sequence

import matplotlib.image
import numpy as np
import soundfile

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 260, 130, 44, 22, 20  # of one curve, in SVG units
MEL_RANGE = 9.0  # nepers below the loudest bin of the recording


def wav_uri(wav: np.ndarray, rate: int) -> str:
    """16-bit WAV, which every browser plays."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(wav, -1, 1), rate, format="WAV", subtype="PCM_16")
    return "data:audio/wav;base64," + base64.b64encode(buffer.getvalue()).decode()


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
