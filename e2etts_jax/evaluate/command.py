"""What the command does: load a run, judge it, write the report."""

from collections.abc import Sequence
from pathlib import Path

from e2etts_jax.data import sources
from e2etts_jax.evaluate import collect, protocol
from e2etts_jax.evaluate.judges import USUAL, Names, begin, made_by, writable
from e2etts_jax.infer.synthesizer import Synthesizer


def run(
    workdir: str,
    *,
    stage: str | None = None,
    stages: Sequence[str] = (),
    num: int = 100,
    out: str | None = None,
    split: str = "test",
    seed: int = 0,
    infer: Sequence[str] = (),
    language: str | None = None,
    compared: str | None = None,
    names: Names = USUAL,
) -> Path:
    """Judges a trained run and returns the path of its report.html.

    Args:
      workdir: of `e2etts_jax.main`.
      stage: whose parameters are judged; by default the last with a checkpoint.
      stages: to compare in a table of their own.
      num: clips of `split` to judge.
      out: folder of the report; by default workdir/report.
      seed: of the sampling.
      infer: `key=value` of decoding, in place of the run's own.
      language: of the clips that are judged; by default `data.language` of the run.
      compared: the protocol by which texts are compared; by default `protocol.of_runs`.
      names: of the judges.

    Raises:
      ImportError: the eval extra is missing.
      FileNotFoundError: no such run, or no usable checkpoint in it.
      ValueError: no such stage, split or infer key; a voice in a file, beside which no report can be, without `out`.
    """
    log = begin()
    from e2etts_jax.evaluate.report import write_report  # which needs what `begin` looks for

    folder = Path(workdir).expanduser()
    if folder.suffix == ".zip" and not out:
        raise ValueError(f"{folder} is a file: say with --out which folder the report goes to")
    speaker = Synthesizer.load(folder, stage, infer=infer)
    place = writable(Path(out).expanduser() if out else folder / "report")
    others = {name: Synthesizer.load(folder, name, infer=infer) for name in stages}
    config, rate = speaker.config, speaker.sample_rate
    codes = config["model"]["tokenizer"]["levels"] ** config["model"]["tokenizer"]["dims"]
    usual = config["data"]["language"]
    spoken = protocol.code(language or usual)
    compared = compared or protocol.of_runs(spoken)
    judges = names.load(spoken, compared, log)
    keep = judges.keep(speaker.can_say, usual, spoken)
    examples = sources.load_examples(config["data"], split, num, rate, keep=keep)
    log(f"{len(examples)} {split} clips ({spoken}), stage {speaker.stage}")
    evaluation = collect.evaluate(speaker, examples, judges, seed, log)
    heard = [e.wav for e in sources.load_examples(config["data"], "train", collect.TOKEN_CLIPS, rate)]
    tokens = collect.token_figures(speaker, heard, codes)
    log(f"tokens: {tokens['distinct']} of {codes} codes, {tokens['entropy']:.2f} bits")
    table = []
    for name, other in others.items():
        if name == speaker.stage:
            row = {"tokens": tokens, **collect.same_stage(evaluation.figures)}
        else:
            judged = collect.stage_figures(other, examples, judges, seed)
            row = {"tokens": collect.token_figures(other, heard, codes), **judged}
        rates = (f"{c} {s['rate']:.3f} ({r})" for c in collect.JUDGED for r, s in row[c].items())
        log(f"stage {name}: error {'  '.join(rates)}")
        table.append({"name": name, **row})
    evaluation.figures |= {
        "made": made_by(),
        "workdir": str(folder),
        "stage": speaker.stage,
        "split": split,
        "dataset": config["data"]["dataset"],
        "seed": seed,
        "infer": dict(config["infer"]),
        "language": spoken,
        "protocol": compared,
        "unit": protocol.unit(spoken),
        "tokens": {"split": "train", **tokens},
        "stages": table,
        "curves": collect.read_curves(folder / "metrics.jsonl"),
    }
    page = write_report(place, evaluation, config, rate)
    log(f"wrote {page} and report.json")
    return page
