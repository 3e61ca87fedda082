"""Writes the language model of a trained run as a folder that transformers loads:

python -m e2etts_jax.export_weights --workdir=runs/joint --out=exported [--stage=tune] [--dtype=bfloat16]

`AutoModelForCausalLM.from_pretrained("exported")`; docs/weights.md says how to ask it for speech tokens.
"""

from pathlib import Path

from absl import app, flags

from e2etts_jax import cli, run_flags, trained_flags

DTYPE = flags.DEFINE_enum("dtype", "float32", ["float32", "bfloat16"], "of the weights")


def main(argv: list[str]) -> int:
    cli.prepare()

    def command() -> None:
        from e2etts_jax.weights import export_weights

        if not cli.OUT.value:
            raise ValueError("say which folder to write: --out=exported")
        print(
            export_weights(
                run_flags.workdir(), trained_flags.STAGE.value, Path(cli.OUT.value).expanduser(), DTYPE.value
            )
        )

    return cli.guarded(command)


if __name__ == "__main__":
    flags.mark_flag_as_required(run_flags.WORKDIR)
    app.run(main, flags_parser=cli.parse_flags)
