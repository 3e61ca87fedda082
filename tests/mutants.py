"""Breaks the code in one place at a time and shows that the test guarding that place fails.

    python tests/mutants.py [WORD ...]     # only mutants whose description holds one of the words

Works on a copy of the checkout. A test must pass on the whole code before its failure counts. Prints one line a mutant with
what the test said, and exits with 1 if one survived.
A quarter of an hour on two cores, so it is not part of the suite; docs/results/mutants.txt has the last output.
"""

import functools
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent

# what is broken, file below e2etts_jax/, the code, its replacement, the test that must fail
MUTANTS = (
    # gradients
    ("no straight-through gradient", "models/fsq.py", "soft + jax.lax.stop_gradient(hard - soft)", "hard", "test_fsq.py -k gradient_is"),
    ("FM loss stops before the tokenizer", "forward.py", 'self.tokens.q if way == "codes" else', 'self.tokens.q if way == "" else', "test_gradients.py -k declared"),
    ("cascade leaks into the tokenizer", "forward.py", 'self.tokens.q if way == "codes" else jax', "self.tokens.q if way else jax", "test_gradients.py -k declared"),
    ("LLM gradient unscaled", "forward.py", "x if factor == 1.0 else", "x if factor else", "test_gradients.py -k scaled"),
    ("reward stops at the samples", "forward.py", "mixed + stop(codebook[ids] - mixed)", "stop(codebook[ids])", "test_gradients.py -k declared"),
    ("reward moves the codebook", "forward.py", "codebook = stop(self.codebook)\n        frozen", "codebook = self.codebook\n        frozen", "test_gradients.py -k declared"),
    ("hard Gumbel samples without gradient", "models/relax.py", "soft + jax.lax.stop_gradient(one_hot - soft)", "one_hot", "test_relax.py -k gradient"),
    ("matmul's kernel gradient halved", "models/layers.py", "return jnp.einsum(\"btf,df->btd\", g, kernel.astype(g.dtype)), _settle(to_kernel)", "return jnp.einsum(\"btf,df->btd\", g, kernel.astype(g.dtype)), 0.5 * _settle(to_kernel)", "test_gradients.py -k finite"),
    ("the reference LLM is the live one", "forward.py", 'REFERENCE = "llm_ref"', 'REFERENCE = "llm"', "test_contract.py test_gradients.py -k 'names or declared'"),
    # leaks
    ("the LLM sees the future", "models/llm.py", "jnp.tril(jnp.ones((start + size, start + size), bool))", "jnp.ones((start + size, start + size), bool)", "test_gradients.py -k past"),
    ("the convolution reads padding", "models/conformer.py", "x = x * mask[..., None].astype(self.dtype)  # the", "# the", "test_padding.py"),
    ("attention reads padding", "models/conformer.py", "positions, mask[:, None, :])[0]", "positions, jnp.ones_like(mask)[:, None, :])[0]", "test_padding.py"),
    ("standardised over padding", "models/tokenizer.py", "standardize(z, mask)", "standardize(z, jnp.ones_like(mask))", "test_padding.py"),
    ("each part divides by its own count", "step.py", "gradient(trained, state, part, dens)", "gradient(trained, state, part, None)", "test_accumulation.py"),
    ("noise by place in the microbatch", "rng.py", "(stream, self.row)", "(stream, jax.numpy.arange(len(self.row)))", "test_accumulation.py test_padding.py"),
    ("a term is averaged per shard", "losses.py", "jnp.sum(mask.astype(jnp.float32)))", "jnp.sum(mask[:1].astype(jnp.float32)))", "test_sharding.py test_accumulation.py"),
    ("a tensor loses its sharding", "../configs/sharding.py", '"embed": "fsdp",', '"embed": "",', "test_sharding.py -k golden"),
    # what the batch brings
    ("the prompt of a pair is not shown", "forward.py", "jnp.where((paired > 0) & (paired < length), paired, prompt_len)", "prompt_len", "test_forward.py"),
    ("the RM hears no other speed", "forward.py", "wav, wav_len = augment.speed(wav, wav_len, p.rm_speed, choice)", "pass", "test_forward.py"),
    ("a clip at another speed keeps its length", "augment.py", "jnp.where(here, length, out_len)", "out_len", "test_augment.py"),
    ("silence is a good reward", "losses.py", "jnp.where(enough, losses, guessed)", "jnp.where(enough, losses, 0.0)", "test_losses.py"),
    # the step
    ("non-finite updates are kept", "step.py", "updates, opt[g] = keep_if(finite, (updates, new)", "updates, opt[g] = keep_if(True, (updates, new)", "test_step.py -k finite"),
    ("moments without their parameters", "state.py", "return leaf if isinstance(leaf, absent) else place", "return leaf if isinstance(leaf, absent) else everywhere", "test_sharding.py -k moments"),
    ("Muon moves embeddings", "optim.py", '"blocks" in names and', "", "test_optim.py"),
    ("norms decay", "optim.py", "path[-1].key in DECAYED", "True", "test_optim.py test_contract.py"),
    ("the average starts over in every step", "step.py", "old + rate * (new - old)", "new", "test_ema.py"),
    ("a run goes on with its average", "train.py", '{**{g: tree[g] for g in r.system.groups}, **live}', '{g: tree[g] for g in r.system.groups}', "test_train.py -k bit_by_bit"),
    # resume
    ("data starts over after a resume", "train.py", "pipeline.stream(batches, start,", "pipeline.stream(batches, 0,", "test_train.py -k 'bit_by_bit or digit'"),
    ("moments are lost on resume", "train.py", 'state.State(params, tree["frozen"], ema, tree["opt"],', 'state.State(params, tree["frozen"], ema, jax.tree.map(lambda x: x * 0, tree["opt"]),', "test_train.py -k bit_by_bit"),
    ("metrics of lost steps stay", "train.py", "r.writer.truncate(at, stage.name)", "pass", "test_train.py -k digit"),
    ("checksums are not compared", "checkpoint.py", "and _digest(path / name) != digest", "and not (path / name).exists()", "test_checkpoint.py -k flipped"),
    ("a save without manifest counts", "checkpoint.py", "if (self.directory / str(step) / MANIFEST).exists()]", "]", "test_checkpoint.py -k 'kill or unfinished'"),
    # parity
    ("symmetric window", "features.py", 'get_window("hann", cfg.win)', 'get_window("hann", cfg.win, fftbins=False)', "test_features.py -k librosa"),
    ("rotary angles backwards", "models/attention.py", "a * cos - b * sin, b * cos + a * sin", "a * cos + b * sin, b * cos - a * sin", "parity -k hidden"),
    ("no query norm", "models/attention.py", 'query = layers.RMSNorm(self.dtype, self.eps, name="query_norm")(query)', "pass", "parity"),
    ("FSQ ids in reverse order", "models/fsq.py", "digits @ levels ** jnp.arange(codes.shape[-1])", "digits @ levels ** jnp.arange(codes.shape[-1])[::-1]", "test_fsq.py -k formula"),
    ("Euler reads the end of the step", "models/ode.py", "x + dt * field(x, t)", "x + dt * field(x, t + dt)", "test_ode.py"),
    ("velocity of another path", "models/flow.py", "x - (1.0 - SIGMA) * z", "x + (1.0 - SIGMA) * z", "test_flow.py"),
    # generation
    ("the cache is written a slot late", "models/generate.py", "seen, cache, prefix + step, method", "seen, cache, prefix + step + 1, method", "test_generate.py -k 'sampled_decoding'"),
    ("the worst-read draw is kept", "infer/programs.py", "jnp.argmin(loss, axis=1)", "jnp.argmax(loss, axis=1)", "infer/test_programs.py -k draws"),
    ("guidance backwards", "infer/programs.py", "(1 + guidance) * v[:batch] - guidance", "(1 - guidance) * v[:batch] + guidance", "infer/test_programs.py -k euler"),
    # data and judges
    ("test strings may be in training", "data/datasets/numbers/builder.py", "[next(clips) for _ in range(size)]", "draw(sum(sizes.values()))[:size]", "data/test_numbers.py -k share_no"),
    ("clips are seen twice an epoch", "data/plan.py", "self._mixed(i, len(ids), epoch, 2", "self._mixed(i, len(ids), epoch + i % 2, 2", "data/test_plan.py data/test_pipeline.py -k once"),
    ("shares of a mixture are ignored", "data/plan.py", "s * self._clips / (whole * n) if n", "Fraction(1) if n", "data/test_plan.py -k shares"),
    ("validation clips are trained on", "data/sources.py", '"train": range(0, size - 2 * part)', '"train": range(0, size)', "data/test_sources.py -k kept"),
    ("the clip of a pair does not begin on a token", "data/pipeline.py", "start = -(-len(first.wav) // c.per_token) * c.per_token", "start = len(first.wav)", "data/test_pipeline.py -k pair"),
    ("a clip's number depends on the process", "data/pipeline.py", "[self._seed, plan.step, row]", "[self._seed, plan.step, r]", "data/test_pipeline.py -k speed"),
    ("a cut recording is kept", "data/prepare/clip.py", "if missing := _cut(path, file.format):", 'if missing := "":', "data/prepare/test_hostile.py"),
    ("a cut shard counts as finished", "data/prepare/shard.py", '.st_size == note["bytes"]', ".st_size > 0", "data/prepare/test_run.py"),
    ("insertions are free", "evaluate/scoring.py", "r.substitutions + r.deletions + r.insertions", "r.substitutions + r.deletions", "evaluate/test_scoring.py"),
)  # fmt: skip


@functools.cache
def passes(test: str, folder: Path) -> bool:
    """Whether a test passes on the whole code, also alone: without its neighbours it may fail for another reason."""
    return pytest(test, folder).returncode == 0


def pytest(test: str, folder: Path) -> subprocess.CompletedProcess:
    files, _, picked = test.partition(" -k ")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header"]
    command += [f"tests/{name}" for name in files.split()] + (["-k", picked.strip("'")] if picked else [])
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def run(test: str, folder: Path) -> tuple[bool, str]:
    """Whether the test saw the fault, and its first line of complaint."""
    done = pytest(test, folder)
    said = re.findall(r"^E +(.+)$", done.stdout, re.MULTILINE)
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    if done.returncode == 0:
        return False, done.stdout.strip().splitlines()[-1]
    if not failed:
        return False, f"no test failed, but: {done.stdout[-300:]}"
    name, why = failed[0].split("::")[-1], said[0][:110] if said else ""
    # A test that falls over a crash has not seen the fault: it would pass if the fault were not so clumsy.
    crash = re.match(r"(NameError|TypeError|IndexError|AttributeError|KeyError|UnboundLocalError|SyntaxError)\b", why)
    return not crash, f"{name}: {why}"


def main(words: list[str]) -> int:
    survived = 0
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in listed:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, folder / file)
        for what, file, code, broken, test in MUTANTS:
            if words and not any(word in what for word in words):
                continue
            path = folder / "e2etts_jax" / file
            text = path.read_text()
            if code not in text:
                print(f"GONE      {what}: {file} no longer has {code!r}", flush=True)
                survived += 1
                continue
            if not passes(test, folder):
                print(f"NO TEST   {what}: {test} fails on the whole code", flush=True)
                survived += 1
                continue
            path.write_text(text.replace(code, broken))
            failed, said = run(test, folder)
            path.write_text(text)
            survived += not failed
            print(f"{'caught   ' if failed else 'SURVIVED '} {what} ({file}) | {said}", flush=True)
    print(f"{survived} not caught")
    return survived > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
