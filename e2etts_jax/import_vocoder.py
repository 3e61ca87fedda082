"""Makes a vocoder file out of a published HiFi-GAN generator (V1 or V2), without PyTorch:

python -m e2etts_jax.import_vocoder --weights=models/generator_v1 --out=vocoder.safetensors

Its config.json must lie beside it, or be named by --json. Then speak with --infer=vocoder=vocoder.safetensors.
"""

from absl import app, flags

from e2etts_jax import cli

WEIGHTS = flags.DEFINE_string("weights", None, "checkpoint of the generator: generator_v1, g_02500000", required=True)
JSON = flags.DEFINE_string("json", None, "its config.json, if that lies elsewhere")


def run(argv: list[str]) -> int:
    cli.prepare()

    def command() -> None:
        import jax

        from e2etts_jax.infer import vocoder
        from e2etts_jax.interop import hifigan

        out = cli.OUT.value or "vocoder.safetensors"
        shape, mel, params = hifigan.read(WEIGHTS.value, JSON.value)
        vocoder.save(out, shape, mel, params)
        size = sum(x.size for x in jax.tree.leaves(params))
        print(f"{out}: {size / 1e6:.1f} M parameters, {mel.n_mels} bins, hop {mel.hop}, {mel.sample_rate} Hz")

    return cli.guarded(command)


if __name__ == "__main__":
    app.run(run, flags_parser=cli.parse_flags)
