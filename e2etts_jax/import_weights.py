"""Makes a workdir to start training from out of weights of transformers, on this machine, without a download:

python -m e2etts_jax.import_weights --config=configs/joint.py:base --workdir=runs/imported \\
  --qwen3=models/Qwen3-0.6B --encoder=models/w2v-bert-2.0

Then train with --config.warm_start=runs/imported --config.warm_groups='("llm","tokenizer")': docs/weights.md.
"""

from absl import app, flags

from e2etts_jax import cli, main, run_flags

QWEN3 = flags.DEFINE_string("qwen3", None, "folder of a Qwen3, or of our own export: the language model")
ENCODER = flags.DEFINE_string("encoder", None, "folder of a Whisper, wav2vec2-conformer or w2v-BERT: the tokenizer")


def run(argv: list[str]) -> int:
    cli.prepare()

    def command() -> None:
        from e2etts_jax.weights import import_weights

        print("\n".join(import_weights(main.CONFIG.value, run_flags.workdir(), QWEN3.value, ENCODER.value)))

    return cli.guarded(command)


if __name__ == "__main__":
    flags.mark_flag_as_required(run_flags.WORKDIR)
    app.run(run, flags_parser=main.parse_flags)
