"""`python -m e2etts_jax.evaluate --workdir=runs/joint [--stage=tune] [--num=100] [--stages=joint,tune,chain]`"""

from absl import app, flags

from e2etts_jax import cli

STAGE = flags.DEFINE_string("stage", None, "stage whose parameters are judged; by default the last with a checkpoint")
STAGES = flags.DEFINE_list("stages", [], "stages to compare in a table of their own")
NUM = flags.DEFINE_integer("num", 100, "clips to judge", lower_bound=1)
OUT = flags.DEFINE_string("out", None, "folder of report.html and report.json; by default WORKDIR/report")
SPLIT = flags.DEFINE_string("split", "test", "split that the clips come from")
SEED = flags.DEFINE_integer("seed", 0, "of the sampling")


def main(argv: list[str]) -> int:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}; options start with --")
    cli.prepare()
    from e2etts_jax.evaluate import command  # after the flags are parsed: a wrong flag must not wait for the imports

    return cli.guarded(
        lambda: command.run(
            cli.WORKDIR.value,
            stage=STAGE.value,
            stages=STAGES.value,
            num=NUM.value,
            out=OUT.value,
            split=SPLIT.value,
            seed=SEED.value,
            infer=cli.INFER.value,
        )
    )


if __name__ == "__main__":
    app.run(main)
