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
LANGUAGE = flags.DEFINE_string("language", "en", "of the list: en or zh")
PROTOCOL = flags.DEFINE_string("protocol", "seed-tts-eval", "how texts are compared: seed-tts-eval or numbers")
RECOGNIZERS = flags.DEFINE_list(
    "recognizers", [], "whisper, moonshine, whisper:FOLDER, faster-whisper:FOLDER, paraformer:FOLDER, command:COMMAND"
)
SPEAKERS = flags.DEFINE_list("speakers", None, "models of similarity: voicefilter, NAME.onnx, wavlm:FOLDER; '' = none")
LISTENERS = flags.DEFINE_list("listeners", None, "models of quality: distillmos, dnsmos; '' = none")


def evaluate() -> object:
    if bool(run_flags.WORKDIR.value) == bool(LIST.value):
        raise ValueError("give --workdir of a training run, or --list and --wavs of any systems")
    if LIST.value:
        from e2etts_jax.evaluate import judging

        return judging.run(
            LIST.value,
            WAVS.value,
            out=cli.OUT.value,
            language=LANGUAGE.value,
            compared=PROTOCOL.value,
            recognizers=RECOGNIZERS.value,
            speakers=SPEAKERS.value,
            listeners=LISTENERS.value,
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
    )


def main(argv: list[str]) -> int:
    cli.prepare()  # imports come after the flags are parsed: a wrong flag must not wait for them
    return cli.guarded(evaluate)


if __name__ == "__main__":
    app.run(main, flags_parser=cli.parse_flags)
