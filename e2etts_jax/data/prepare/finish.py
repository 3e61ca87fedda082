"""What comes after the last shard: the index, TFDS's description, the list of rejections, the summary."""

import collections
import dataclasses
import fractions
import json
from pathlib import Path
from typing import Any

import numpy as np

from e2etts_jax.data import index
from e2etts_jax.data.prepare import buckets, figure
from e2etts_jax.data.prepare import speaker as speakers
from e2etts_jax.data.prepare.plan import NAME, Plan, describe, write_whole
from e2etts_jax.data.prepare.rows import weight
from e2etts_jax.data.prepare.shard import features, read_note

BUCKETS = (1, 2, 3, 4, 6, 8)
LIKELY = 300  # texts that are read to find the longest one
MOST_PADDING = 0.1  # the fewest buckets below it are suggested: each is one more shape to compile


@dataclasses.dataclass
class Split:
    """What the shards of a split noted, column by column: shard lengths and bytes, then one entry a clip."""

    lengths: list[int] = dataclasses.field(default_factory=list)
    bytes: int = 0
    clips: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def missing(plan: Plan, out: Path, numbers: range | list[int]) -> list[int]:
    """Those of the shards `numbers` that are not finished."""
    return [n for n in numbers if read_note(out, plan.shards[n], plan.digest) is None]


def finish(plan: Plan, out: Path, token_rate: fractions.Fraction) -> dict[str, Any]:
    """Joins the finished shards of `out` to a data set, and returns the summary.

    Args:
      token_rate: speech tokens a second, for the suggested buckets.

    Raises:
      ValueError: not one clip was kept.
      FileNotFoundError: a shard has vanished since.
    """
    splits: dict[str, Split] = collections.defaultdict(Split)
    rejected = [json.loads(line) for line in (out / "prepare" / "rejected.jsonl").read_text().splitlines()]
    rate = 0
    for shard in plan.shards:
        note = read_note(out, shard, plan.digest)
        if note is None:
            raise FileNotFoundError(f"shard {out / shard.file} is gone; run the same command again")
        split, rate = splits[shard.split], note["rate"]
        split.lengths.append(len(note["clips"]))
        split.bytes += note["bytes"]
        split.clips += note["clips"]
        rejected += note["rejected"]
    rejected.sort(key=lambda r: (r["key"], r["path"], r["detail"]))
    write_whole(out / "rejected.jsonl", "".join(json.dumps(r) + "\n" for r in rejected))
    if not any(split.clips for split in splits.values()):
        reasons = collections.Counter(r["reason"] for r in rejected).most_common(3)
        raise ValueError(
            f"all {len(rejected)} clips were rejected ({', '.join(f'{r}: {n}' for r, n in reasons)}); "
            f"{out / 'rejected.jsonl'} says why"
        )
    splits = {name: split for name, split in splits.items() if split.clips}
    for name, split in splits.items():
        index.write(index.path_of(out, name), _index(plan, split))
    summary = summarise(plan, splits, rejected, rate, token_rate)
    _figure(out, splits, rate, summary)
    write_whole(out / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    _describe(plan, out, splits, rate)  # last: TFDS opens the folder from now on
    return summary


def _index(plan: Plan, split: Split) -> index.Index:
    def coded(field: str) -> tuple[list[str], np.ndarray]:
        names = sorted({clip[field] for clip in split.clips} - {""})
        places = {name: i for i, name in enumerate(names)} | {"": -1}
        return names, np.array([places[clip[field]] for clip in split.clips], np.int32)

    speakers, speaker = coded("speaker")
    languages, language = coded("language")
    return index.Index(
        keys=[clip["key"] for clip in split.clips],
        texts=[clip["text"] for clip in split.clips],
        samples=np.array([clip["samples"] for clip in split.clips], np.int64),
        speakers=speaker,
        languages=language,
        labels={n: np.array([clip["labels"][n] for clip in split.clips], np.int32) for n in plan.labels},
        names={"speaker": speakers, "language": languages} | plan.labels,
    )


def _describe(plan: Plan, out: Path, splits: dict[str, Split], rate: int) -> None:
    """Writes dataset_info.json and features.json, as TFDS reads them."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import dataset_info, naming

    part = out / "prepare" / "info"
    part.mkdir(exist_ok=True)
    identity = dataset_info.DatasetIdentity(
        name=NAME, version=tfds.core.Version("1.0.0"), data_dir=str(part), module_name="e2etts_jax.prepare"
    )
    info = tfds.core.DatasetInfo(
        builder=identity,
        description="Speech with texts, prepared by python -m e2etts_jax.prepare.",
        features=features(plan.labels, plan.speaker_dim),
        metadata=tfds.core.MetadataDict({"sample_rate": rate} | describe(plan)),
        disable_shuffling=True,
    )
    info.set_file_format("array_record")
    template = lambda name: naming.ShardedFileTemplate(  # noqa: E731
        dataset_name=NAME, data_dir=str(part), split=name, filetype_suffix="array_record"
    )
    info.set_splits(
        tfds.core.splits.SplitDict(
            [
                tfds.core.SplitInfo(
                    name=name, shard_lengths=split.lengths, num_bytes=split.bytes, filename_template=template(name)
                )
                for name, split in sorted(splits.items())
            ]
        )
    )
    info.write_to_directory(part)
    for path in sorted(part.iterdir(), key=lambda p: p.name == "dataset_info.json"):
        path.replace(out / path.name)
    part.rmdir()


def pace(split: Split, rate: int) -> np.ndarray:
    """f64[N]: characters a second of every clip, by `rows.weight`."""
    return np.array([weight(clip["text"]) * rate / clip["samples"] for clip in split.clips])


def summarise(
    plan: Plan, splits: dict[str, Split], rejected: list[dict], rate: int, token_rate: fractions.Fraction
) -> dict[str, Any]:
    """Counts, hours, quantiles and suggested buckets, as plain data."""
    clips = [clip for split in splits.values() for clip in split.clips]
    # exact: a clip of a whole number of tokens must not get one more from rounding
    tokens = np.array([-(-c["samples"] * token_rate.numerator // (rate * token_rate.denominator)) for c in clips])
    counts = buckets.histogram(tokens)
    found = {k: buckets.best_bounds(counts, k) for k in BUCKETS}
    paces = np.concatenate([pace(split, rate) for split in splits.values()])
    suggested = next((b for b, padding in found.values() if padding < MOST_PADDING), found[BUCKETS[-1]][0])
    return {
        "source": plan.options.source,
        "kept": len(clips),
        "rejected": dict(collections.Counter(r["reason"] for r in rejected).most_common()),
        "sample_rate": rate,
        "hours": round(sum(c["samples"] for c in clips) / rate / 3600, 4),
        "splits": {
            name: {
                "clips": len(split.clips),
                "shards": len(split.lengths),
                "bytes": split.bytes,
                "hours": round(sum(c["samples"] for c in split.clips) / rate / 3600, 4),
            }
            for name, split in sorted(splits.items())
        },  # fmt: skip
        "taken_to_validate": plan.taken,
        "speakers": len({c["speaker"] for c in clips} - {""}),
        "languages": sorted({c["language"] for c in clips} - {""}),
        "labels": plan.labels,
        "speaker_vectors": plan.options.speaker,
        "speaker_dim": plan.speaker_dim,
        "peak_limited": sum(c["limited"] for c in clips),
        "characters_per_second": {q: round(float(np.quantile(paces, float(q))), 2) for q in ("0.01", "0.5", "0.99")},
        "longest_text": longest_text([c["text"] for c in clips]),
        "tokens_per_second": str(token_rate),
        "suggested_buckets": list(suggested),
        "buckets": {str(k): {"bounds": list(b), "padding": round(p, 4)} for k, (b, p) in found.items()},
    }


def longest_text(texts: list[str]) -> int:
    """Characters of the longest text as it is read: with its numbers, amounts and abbreviations as words."""
    from e2etts_jax.data.text import read

    # Only the likely ones are read, for it takes a while: a digit becomes up to twelve letters.
    likely = sorted(texts, key=lambda t: len(t) + 12 * sum(c.isdecimal() or c in "$%" for c in t))[-LIKELY:]
    try:
        return max(len(read(t)) for t in likely)
    except ImportError:  # without the library that reads numbers, which training then will ask for
        return max(len(t) + 12 * sum(map(str.isdecimal, t)) for t in likely)


def _figure(out: Path, splits: dict[str, Split], rate: int, summary: dict[str, Any]) -> None:
    clips = [clip for split in splits.values() for clip in split.clips]
    token_rate = fractions.Fraction(summary["tokens_per_second"])
    png = figure.draw(
        seconds=np.array([c["samples"] / rate for c in clips]),
        rates=np.concatenate([pace(split, rate) for split in splits.values()]),
        loudness=np.array([c["loudness"] for c in clips]),
        reasons=summary["rejected"],
        bounds=[b / float(token_rate) for b in summary["suggested_buckets"]],
        title=f"{len(clips)} clips, {summary['hours']:.2f} hours, {summary['speakers']} speakers",
    )
    write_whole(out / "summary.png", png)


def report(summary: dict[str, Any], out: Path, warn_above: float = 0.05) -> str:
    """What the command prints at the end."""
    lost = sum(summary["rejected"].values())
    speed, splits, dim = summary["characters_per_second"], summary["splits"], summary["speaker_dim"]
    lines = [
        f"{summary['kept']} clips kept, {lost} rejected; {summary['hours']:.2f} hours at {summary['sample_rate']} Hz, "
        f"{summary['speakers']} speakers",
        *(f"  {name}: {s['clips']} clips, {s['hours']:.2f} hours, {s['shards']} shards, {s['bytes'] / 1e6:.0f} MB"
          for name, s in splits.items()),
        *([f"  validation was taken out of train, by a hash of the id: {summary['source']} names no such split"]
          if summary["taken_to_validate"] else []),
        *(f"  rejected, {reason}: {count}" for reason, count in summary["rejected"].items()),
        f"  characters a second: median {speed['0.5']}, 1 % {speed['0.01']}, 99 % {speed['0.99']}; "
        f"longest text {summary['longest_text']} characters",
        f"  buckets in tokens, {float(fractions.Fraction(summary['tokens_per_second'])):.2f} a second:",
        *(f"    {k}: {tuple(b['bounds'])}  {100 * b['padding']:.1f} % padding" for k, b in summary["buckets"].items()),
        f"rejections: {out / 'rejected.jsonl'}   figure: {out / 'summary.png'}",
        f"train on it: --config.data.dataset={out} --config.data.max_text={summary['longest_text']} "
        f"--config.data.buckets='{tuple(summary['suggested_buckets'])}'"
        + "".join(f" --config.model.{m}.speaker={dim}" for m in ("fm", "rm") if dim != speakers.DIM),
    ]  # fmt: skip
    share = lost / (lost + summary["kept"])
    if share > warn_above:
        lines.append(
            f"WARNING: {100 * share:.0f} % of the clips were rejected, most for {next(iter(summary['rejected']))!r}; "
            f"see {out / 'rejected.jsonl'} before you train"
        )
    return "\n".join(lines)
