"""Weights in and out of a workdir: what `import_weights` and `export_weights` do, without their flags."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from etils import epath

from e2etts_jax.checkpoint import Checkpointer, load_last
from e2etts_jax.data.text import BpeTokenizer, make_both
from e2etts_jax.interop import folder, llm_export
from e2etts_jax.interop.encoders import tokenizer_params
from e2etts_jax.interop.llm_import import Rows, llm_params
from e2etts_jax.models.llm import LLM, LLMConfig
from e2etts_jax.models.tokenizer import Tokenizer, TokenizerConfig
from e2etts_jax.system import System
from e2etts_jax.types import config_of

STAGE = "imported"  # the only one of a workdir made of imported weights
REPORT = "import.json"
TEXT = ("tokenizer", "alphabet", "vocabulary", "languages")  # fields of config.text that decide the ids
PROBE = "Hello, 世界! Numbers: 3.14, naïve café\n  two spaces, 'tis 한국어 🎉"  # vocabularies disagree on some of it


def import_weights(config: Any, workdir: str, qwen3: str | None, encoder: str | None) -> list[str]:
    """Writes a workdir that `warm_start` can name, and returns what to tell.

    Args:
      config: ConfigDict of the run that is to start from it.
      workdir: local, or in a bucket.
      qwen3, encoder: folders of transformers, for the groups `llm` and `tokenizer`.

    Raises:
      FileExistsError: the workdir is in use.
      ValueError, FileNotFoundError: nothing to import, a folder that is not whole, or other sizes than the config's.
    """
    if not qwen3 and not encoder:
        raise ValueError("say what to import: --qwen3=FOLDER, --encoder=FOLDER, or both")
    place = epath.Path(workdir).expanduser()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise FileExistsError(f"{workdir} is not an empty folder: choose another --workdir")
    sources = {group: folder.Folder(path) for group, path in (("llm", qwen3), ("tokenizer", encoder)) if path}
    texts = make_both(config.text)
    system = System.from_config(config, *texts.sizes)
    key = jax.random.key(config.seed)
    groups, reports = {}, {}
    if "llm" in sources:
        # XLA makes nothing of the four models but what the result is made of
        codebook = jax.jit(lambda k: _codebook(system.tokenizer, system.unboxed(k)["tokenizer"]))(key)
        rows = shared_words(config.text, texts.llm.vocab_size, sources["llm"].path)
        groups["llm"], reports["llm"] = llm_params(sources["llm"], system.llm, rows, codebook, config.seed)
    if "tokenizer" in sources:
        fresh = jax.jit(lambda k: system.unboxed(k)["tokenizer"])(key)
        made = tokenizer_params(sources["tokenizer"], system.tokenizer.config, system.front_end.n_mels, fresh)
        groups["tokenizer"], reports["tokenizer"] = made
    saver = Checkpointer(str(place / "checkpoints" / STAGE), keep=1)
    try:
        saver.save(0, {group: _moved(params, jnp.asarray) for group, params in groups.items()}, {"stage": STAGE})
    finally:
        saver.close()
    _write(place / REPORT, {group: report.as_json() for group, report in reports.items()})
    _write(place / "config.json", {**json.loads(config.to_json()), "run": [STAGE]})  # last: now it is a workdir
    lines = [line for group, report in reports.items() for line in report.lines(group)]
    names = ",".join(f'"{group}"' for group in groups) + ("," if len(groups) == 1 else "")
    return [*lines, f"train from it: --config.warm_start={workdir} --config.warm_groups='({names})'"]


def shared_words(cfg_text: Mapping[str, Any], vocab: int, source: Path) -> Rows:
    """Which of the `vocab` text ids of a config are words of the model in the folder `source`.

    Raises:
      ValueError: byte pairs, but not those of the folder's own tokenizer.json; or an export with other ids.
    """
    own, words = source / llm_export.LAYOUT, source / "tokenizer.json"
    if own.is_file():
        trained = folder.read_json(own).get("text", {})
        other = [name for name in TEXT if _plain(trained.get(name)) != _plain(cfg_text[name])]
        if other:
            raise ValueError(f"{source} was trained with another text.{other[0]}: {trained.get(other[0])!r}")
        return Rows(0)  # they come back without
    if cfg_text["tokenizer"] != "bpe":
        return Rows(0, f"they are {cfg_text['tokenizer']}; with text.tokenizer=bpe they would be its words")
    count = vocab - 1 - len(cfg_text["languages"])
    if not words.is_file():
        return Rows(count, " (no tokenizer.json there to compare with)")
    theirs, ours = BpeTokenizer(str(words)), BpeTokenizer(cfg_text["vocabulary"])
    if theirs.fingerprint != ours.fingerprint and theirs.encode(PROBE) != ours.encode(PROBE):
        raise ValueError(
            f"text.vocabulary={cfg_text['vocabulary']!r} is not that of {source}: --config.text.vocabulary={words}"
        )
    return Rows(count)


def export_weights(workdir: str, stage: str | None, out: Path, dtype: str) -> str:
    """Writes the LLM of a run as a folder of transformers, and returns what to tell.

    Args:
      stage: by default the last one that has a usable checkpoint.
      dtype: a key of `folder.DTYPES`.

    Raises:
      FileNotFoundError: no such run, or no usable checkpoint.
      FileExistsError: there is something in `out`.
      ValueError: no such stage, or a checkpoint without a tokenizer or an LLM.
    """
    place = epath.Path(workdir).expanduser()
    if not (place / "config.json").exists():
        raise FileNotFoundError(f"no config.json in {workdir}: give the --workdir of a training run")
    config = folder.read_json(place / "config.json")
    name, params = load_last(place, config["run"], ("llm", "tokenizer"), stage=stage)
    tokenizer = Tokenizer(config_of(TokenizerConfig, config["model"]["tokenizer"]))
    model = LLM(config_of(LLMConfig, config["model"]["llm"]), len(params["llm"]["text_embed"]), tokenizer.config.vocab)
    codebook = _codebook(tokenizer, params["tokenizer"])
    tensors = llm_export.weights(params["llm"], model, codebook, folder.DTYPES[dtype])
    about = {"workdir": place.name, "stage": name, "text": config["text"], "audio": config["audio"]}
    folder.write(out, tensors, llm_export.files(model, config["infer"], dtype, about))
    ids, size = llm_export.Ids(model.text_vocab, model.vocab), sum(tensor.nbytes for tensor in tensors.values())
    return (
        f"{out}: the LLM of stage {name}, {size / 1e6:.1f} MB in {dtype}, {ids.size} ids: text 0..{ids.text - 1}, "
        f"control {ids.control}..{ids.speech - 1}, codes {ids.speech}..{ids.size - 1}"
    )


def _codebook(tokenizer: Tokenizer, params: Mapping[str, Any]) -> Any:
    return tokenizer.apply({"params": params}, method=Tokenizer.codebook)


def _moved(tree: Any, put: Callable[[Any], Any]) -> Any:
    """The tree with every leaf put elsewhere, and dropped here at once, so that it does not lie in memory twice."""
    return {name: _moved(tree.pop(name), put) for name in list(tree)} if isinstance(tree, dict) else put(tree)


def _plain(value: Any) -> Any:
    """Tuples as JSON has them."""
    return list(value) if isinstance(value, tuple) else value


def _write(path: epath.Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True))
