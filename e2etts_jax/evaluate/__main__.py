"""`python -m e2etts_jax.evaluate`, of a trained run or of any systems' recordings:

python -m e2etts_jax.evaluate --workdir=runs/joint [--stage=tune] [--num=100] [--stages=joint,tune,chain]
python -m e2etts_jax.evaluate --list=meta.lst --wavs=A=out/a --wavs=B=out/b_seed0,out/b_seed1 [--language=zh]
"""

from absl import app, flags

from e2etts_jax import cli, run_flags, trained_flags

STAGES = flags.DEFINE_list("stages", [], "stages to compare in a table of their own")
NUM = flags.DEFINE_integer("num", None, "clips to judge: 100 of a run, all of a list", lower_bound=1)
SPLIT = flags.DEFINE_string("split", "test", "split that the clips come from")
LIST = flags.DEFINE_string("list", None, "what systems were to say: a list of seed-tts-eval, or a manifest")
WAVS = flags.DEFINE_multi_string("wavs", [], "recordings of a system: NAME=FOLDER, or NAME=FOLDER,FOLDER of its seeds")
LANGUAGE = flags.DEFINE_string(
    "language", None, "of the texts, such as en or zh: en for a list, data.language of a run"
)
PROTOCOL = flags.DEFINE_string(
    "protocol", None, "how texts are compared: seed-tts-eval (lists in en and zh), numbers (runs in en), words (others)"
)
RECOGNIZERS = flags.DEFINE_multi_string(
    "recognizers",
    [],
    "names with commas between them, or a command; the flag may come again: whisper, moonshine, whisper-base, "
    "whisper:FOLDER, faster-whisper:FOLDER, paraformer:FOLDER, command:COMMAND",
)
SPEAKERS = flags.DEFINE_list(
    "speakers", None, "models of similarity: voicefilter, resemblyzer, NAME.onnx, wavlm:FOLDER; '' = none"
)
LISTENERS = flags.DEFINE_list("listeners", None, "models of quality: distillmos, dnsmos; '' = none")


OF_LISTS = (WAVS,)
OF_RUNS = (STAGES, SPLIT, trained_flags.STAGE, trained_flags.SEED, trained_flags.INFER)


def evaluate() -> object:
    if bool(run_flags.WORKDIR.value) == bool(LIST.value):
        raise ValueError("give --workdir of a training run, or --list and --wavs of any systems")
    idle = [f"--{flag.name}" for flag in (OF_RUNS if LIST.value else OF_LISTS) if flag.present]
    if idle:
        raise ValueError(f"{', '.join(idle)}: not for {'--list' if LIST.value else '--workdir'}")
    from e2etts_jax.evaluate.judges import Names

    given = ([text] if text.startswith("command:") else text.split(",") for text in RECOGNIZERS.value)
    names = Names([name for some in given for name in some if name], SPEAKERS.value, LISTENERS.value)
    if LIST.value:
        from e2etts_jax.evaluate import judging

        return judging.run(
            LIST.value,
            WAVS.value,
            out=cli.OUT.value,
            language=LANGUAGE.value or "en",
            compared=PROTOCOL.value,
            names=names,
            num=NUM.value or 0,
        )
    from e2etts_jax.evaluate import command

    return command.run(
        run_flags.workdir(),
        stage=trained_flags.STAGE.value,
        stages=STAGES.value,
        num=NUM.value or 100,
        out=cli.OUT.value,
        split=SPLIT.value,
        seed=trained_flags.SEED.value,
        infer=trained_flags.INFER.value,
        language=LANGUAGE.value,
        compared=PROTOCOL.value,
        names=names,
    )


def main(argv: list[str]) -> int:
    def prepared() -> None:
        cli.prepare()  # imports come after the flags are parsed: a wrong flag must not wait for them
        evaluate()

    return cli.guarded(prepared, stopped="stopped; what was judged is kept, and the same command goes on")


if __name__ == "__main__":
    app.run(main, flags_parser=cli.parse_flags)
