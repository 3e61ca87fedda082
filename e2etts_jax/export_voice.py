"""Makes one small file of a trained run, which speaks without anything else:

python -m e2etts_jax.export_voice --workdir=runs/joint_tiny --out=voice.zip --card=card.md
python -m e2etts_jax.synthesize --workdir=voice.zip --text="five two three"
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from absl import app, flags

from e2etts_jax import cli, run_flags, trained_flags

if TYPE_CHECKING:
    from e2etts_jax.infer.voice import Voice

VOCODER = flags.DEFINE_string("vocoder", "universal", "that goes into the file: universal, LJSpeech or a file")
CARD = flags.DEFINE_string("card", None, "Markdown file that says what the voice can and can't say")
WORDS = flags.DEFINE_integer("words", 2000, "a voice of so few words warns of others; 0 = never")


def voice_of(workdir: str, stage: str | None, vocoder: str, card: str, most_words: int) -> "Voice":
    """What the file of a run holds.

    Args:
      most_words: words of the training texts up to which the voice says that it knows no others.

    Raises:
      FileNotFoundError, ValueError: as `Synthesizer.load` and `vocoder.choose`; the run's corpus if it is gone.
    """
    import jax
    import numpy as np

    from e2etts_jax.data import sources
    from e2etts_jax.infer import vocoder as vocoders
    from e2etts_jax.infer.synthesizer import Synthesizer
    from e2etts_jax.infer.voice import Voice

    s = Synthesizer.load(workdir, stage, infer=[f"vocoder={vocoder}"])
    words: set[str] = set()
    for text in sources.open_source(s.config.data, "train").texts if most_words else ():
        words.update(s.words_of(text, s.language))
        if len(words) > most_words:  # no list of all that it can say
            words.clear()
            break
    config = json.loads(s.config.to_json())
    return Voice(
        config=config,
        stage=s.stage,
        params=jax.tree.map(np.asarray, s.params),
        speaker=s.speaker,
        vocoder=vocoders.weights(vocoder),
        words=frozenset(words),
        card=card,
    )


def run(argv: list[str]) -> int:
    cli.prepare()

    def command() -> None:
        from e2etts_jax.infer import voice

        out = Path(cli.OUT.value or "voice.zip").expanduser()
        if out.suffix != ".zip":  # by which the other commands know a voice from a folder
            raise ValueError(f"--out={out} must end in .zip")
        if VOCODER.value in ("auto", "griffin_lim"):
            raise ValueError(f"--vocoder={VOCODER.value} has no weights to put into a file: give universal or a file")
        if CARD.value and not Path(CARD.value).expanduser().is_file():
            raise FileNotFoundError(f"no card {CARD.value}")
        card = Path(CARD.value).expanduser().read_text(encoding="utf-8") if CARD.value else ""
        made = voice_of(run_flags.workdir(), trained_flags.STAGE.value, VOCODER.value, card, WORDS.value)
        voice.save(out, made)
        knows = f"{len(made.words)} words" if made.words else "any text"
        print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, stage {made.stage}, {knows}")

    return cli.guarded(command)


if __name__ == "__main__":
    flags.mark_flag_as_required(run_flags.WORKDIR)
    app.run(run, flags_parser=cli.parse_flags)
