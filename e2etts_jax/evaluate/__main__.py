"""`python -m e2etts_jax.evaluate --workdir=runs/joint [--stage=tune] [--num=100] [--stages=joint,tune,chain]`"""

from absl import app, flags

from e2etts_jax import cli, run_flags, trained_flags

STAGES = flags.DEFINE_list("stages", [], "stages to compare in a table of their own")
NUM = flags.DEFINE_integer("num", 100, "clips to judge", lower_bound=1)
SPLIT = flags.DEFINE_string("split", "test", "split that the clips come from")


def main(argv: list[str]) -> int:
    cli.prepare()
    from e2etts_jax.evaluate import command  # after the flags are parsed: a wrong flag must not wait for the imports

    return cli.guarded(
        lambda: command.run(
            run_flags.workdir(),
            stage=trained_flags.STAGE.value,
            stages=STAGES.value,
            num=NUM.value,
            out=cli.OUT.value,
            split=SPLIT.value,
            seed=trained_flags.SEED.value,
            infer=trained_flags.INFER.value,
        )
    )


if __name__ == "__main__":
    flags.mark_flag_as_required(run_flags.WORKDIR)
    app.run(main, flags_parser=cli.parse_flags)
