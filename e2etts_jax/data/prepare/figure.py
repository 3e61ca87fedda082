"""The histograms of a prepared corpus as one picture."""

import io
from collections.abc import Mapping, Sequence

import numpy as np


def draw(
    seconds: np.ndarray,
    rates: np.ndarray,
    loudness: np.ndarray,
    reasons: Mapping[str, int],
    bounds: Sequence[float],
    title: str,
) -> bytes:
    """PNG of four panels; equal input gives equal bytes.

    Args:
      seconds, rates, loudness: f64[N], of every clip: length, characters a second, LUFS as recorded.
      reasons: rejected clips by reason.
      bounds: suggested bucket bounds in seconds, drawn as lines.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2).ravel()
    panels = ((seconds, "duration", "seconds"), (rates, "speed", "characters a second"),
              (loudness, "loudness as recorded", "LUFS"))  # fmt: skip
    for axis, (values, name, unit) in zip(axes, panels, strict=False):
        axis.hist(values, bins=60, color="#4477aa")
        p1, median, p99 = np.quantile(values, (0.01, 0.5, 0.99))
        axis.set(title=f"{name}: median {median:.1f}, 1 % to 99 % {p1:.1f} to {p99:.1f}", xlabel=unit, ylabel="clips")
        axis.spines[["top", "right"]].set_visible(False)
    for bound in bounds:
        axes[0].axvline(bound, color="#cc6677", linewidth=1)
    if bounds:
        axes[0].plot([], [], color="#cc6677", linewidth=1, label=f"bounds of {len(bounds)} buckets")
        axes[0].legend(frameon=False)
    names = sorted(reasons, key=lambda name: (reasons[name], name))
    bars = axes[3].barh(names, [reasons[name] for name in names], color="#cc6677")
    axes[3].bar_label(bars, padding=3)
    axes[3].margins(x=0.15)
    axes[3].xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[3].spines[["top", "right"]].set_visible(False)
    axes[3].set(title="rejected clips by reason", xlabel="clips")
    if not names:
        axes[3].set_axis_off()
        axes[3].text(0.5, 0.5, "no clip was rejected", ha="center", transform=axes[3].transAxes)
    figure.suptitle(title)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()
