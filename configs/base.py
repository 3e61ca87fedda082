"""Every key of a configuration, its default and what it means: the only place for defaults.

The defaults are the `:tiny` sizes: 13 M parameters, minutes on a laptop CPU.
"""

import ast
import re
from typing import Any

from ml_collections import ConfigDict

from configs import sharding


def get_config() -> ConfigDict:
    """The tiny system without any stage; recipes (joint.py, cascaded.py) add theirs with `stage()`."""
    c = ConfigDict()
    c.seed = 0
    c.dtype = "auto"  # compute dtype: auto (bf16 where the hardware multiplies it fast), float32, bfloat16

    c.attention = "auto"  # kernel: auto (what the hardware has), xla, splash (TPU), cudnn (GPU)

    c.audio = ConfigDict()
    c.audio.sample_rate = 22050  # of everything: data, mels, vocoder
    c.audio.samples_per_token = 1024  # 21.5 tokens/s; a multiple of mel.hop

    c.mel = ConfigDict()  # what the FM predicts and the vocoder reads (here HiFi-GAN's)
    c.mel.n_fft = 1024
    c.mel.win = 1024
    c.mel.hop = 256
    c.mel.n_mels = 80
    c.mel.fmin = 0.0
    c.mel.fmax = 8000.0
    c.mel.power = 1.0  # 1 magnitude, 2 power
    c.mel.scale = "ln"  # ln, or log10_whisper
    c.mel.floor = 1e-5
    c.mel.mean = -6.35  # of the log-mel, so that the FM works on unit variance
    c.mel.std = 2.85
    c.tokenizer_mel = (
        c.mel.copy_and_resolve_references()
    )  # what the tokenizer hears; hop * 2^halvings = samples_per_token

    c.text = ConfigDict()
    c.text.tokenizer = (
        "characters"  # characters, phonemes (English), bpe (Qwen's, or any tokenizer.json); none (for a vocoder)
    )
    c.text.rm_tokenizer = ""  # what the RM writes, which needs letters or sounds to listen for; '' = the same
    c.text.alphabet = " 'abcdefghijklmnopqrstuvwxyz"  # one id a character, from 1; 0 is padding and the CTC blank
    c.text.vocabulary = ""  # of bpe: a tokenizer.json; '' = Qwen's
    c.text.languages = ()  # tags in front of every text, such as ("en", "zh"); () = none
    c.text.reading = True  # numbers, dates, amounts and abbreviations as words

    c.data = ConfigDict()
    c.data.dataset = "numbers"  # a name, the folder of a prepared corpus, or a mixture: docs/data.md
    c.data.data_dir = ""  # where built corpora lie; '' = $E2ETTS_DATA_DIR or ~/.cache/e2etts_jax
    c.data.buckets = (80,)  # longest clip of each bucket, in tokens; every bucket is one compiled shape
    c.data.max_text = 48  # longest text, in ids of text.tokenizer
    c.data.max_rm_text = 0  # and of text.rm_tokenizer, where that is another one
    c.data.language = "en"  # of clips that do not say theirs
    c.data.prompts = 0.0  # share of clips that follow another clip of the same voice, as its continuation
    c.data.workers = 0  # loader processes; 0 = a thread, enough while clips decode fast
    c.data.prefetch = 4  # batches ready ahead of the step

    c.model = ConfigDict()
    c.model.tokenizer = ConfigDict()
    c.model.tokenizer.layers = 3
    c.model.tokenizer.width = 192
    c.model.tokenizer.heads = 3
    c.model.tokenizer.ff = 512
    c.model.tokenizer.kernel = 9
    c.model.tokenizer.halvings = 2  # stride-2 convolutions in front
    c.model.tokenizer.dims = 8  # FSQ: 3^8 = 6561 codes
    c.model.tokenizer.levels = 3
    c.model.tokenizer.q_width = 64  # width of the shared representation q
    c.model.tokenizer.standardize = True  # zero mean, unit variance over the clip before FSQ: no collapse of the codes
    c.model.tokenizer.remat = "none"  # recomputed in the backward pass: none; or full, all but attention, or but linear
    c.model.tokenizer.unroll = 1  # layers per iteration of the layer scan
    c.model.rm = ConfigDict()
    c.model.rm.layers = 2
    c.model.rm.width = 192
    c.model.rm.heads = 3
    c.model.rm.ff = 512
    c.model.rm.kernel = 9
    c.model.rm.ctc_upsample = 2  # CTC frames a token
    c.model.rm.speaker = 256  # dims of the x-vector to predict; 0 = no head
    c.model.rm.tasks = ()  # labelled tasks, (("emotion", 5), ...): one head and one term rm_<task> each
    c.model.rm.remat = "none"
    c.model.rm.unroll = 1
    c.model.llm = ConfigDict()
    c.model.llm.layers = 6
    c.model.llm.width = 192
    c.model.llm.heads = 3
    c.model.llm.kv_heads = 1
    c.model.llm.head_dim = 64
    c.model.llm.ff = 512
    c.model.llm.rope_theta = 1e4
    c.model.llm.rms_eps = 1e-6
    c.model.llm.adapter = "mlp"  # codebook -> width: linear, mlp, or table (own rows, not tied)
    c.model.llm.adapter_width = 256
    c.model.llm.embed_std = 1.0
    c.model.llm.chunk = 0  # positions whose logits exist at one time; 0 = all
    c.model.llm.remat = "none"
    c.model.llm.unroll = 1
    c.model.fm = ConfigDict()
    c.model.fm.layers = 6
    c.model.fm.width = 256
    c.model.fm.heads = 4
    c.model.fm.ff = 768
    c.model.fm.predict = "preconditioned"  # network output: velocity, or preconditioned (easier to learn)
    c.model.fm.times = "cosine"  # how t is drawn: uniform, or cosine (as often as the solver steps there)
    c.model.fm.patch = 4  # mel frames a DiT position holds; 1 as in CosyVoice 3
    c.model.fm.look_ahead = 3  # tokens on each side that condition a token's frames
    c.model.fm.drop = 0.2  # share of rows without condition, speaker and prompt (classifier-free guidance)
    c.model.fm.prompt_share = 0.5  # share of rows with a clean mel prefix ...
    c.model.fm.prompt_max = 0.3  # ... of at most this part of the clip
    c.model.fm.speaker = 256  # dims of the speaker vector
    c.model.fm.cond_hidden = 0  # the LLM's width, where plan.tokens_to_fm = llm_hidden is to be used
    c.model.fm.remat = "none"
    c.model.fm.unroll = 1

    c.mesh = sharding.mesh("single")

    c.stages = ConfigDict()  # by name
    c.run = ()  # names of the stages, in order
    c.warm_start = ""  # workdir whose last stage gives the first parameters; '' = from scratch
    c.warm_groups = ("tokenizer", "llm", "fm", "rm")  # groups that it gives; the others start from scratch

    c.log_every = 10  # steps between metric lines
    c.checkpoint_every = 200  # steps; the last of a stage is always saved
    c.keep = 2  # checkpoints kept a stage
    c.listen_every = 0  # steps between judgements of a few sentences, as `evaluate` would, to TensorBoard; 0 = never
    c.max_skipped = 10  # stop after so many steps in a row with a loss or gradient that is not finite

    c.infer = ConfigDict()
    c.infer.temperature = 0.5  # 0 = greedy; little data wants little of it, large models 1
    c.infer.top_p = 0.8
    c.infer.top_k = 25
    c.infer.repetition = 1.0  # largest share of the last 10 tokens an id may have before it is redrawn; 1 = off
    c.infer.candidates = 8  # draws of a sentence, of which the RM chooses the one that it reads best; 1 = no choice
    c.infer.min_ratio = 0.0  # speech tokens per text token, least ...
    c.infer.max_ratio = 20.0  # ... and most
    c.infer.max_tokens = 96  # hard limit of a sentence
    c.infer.vocoder = "auto"  # HiFi-GAN if there is one for this mel, else griffin_lim; or a file: docs/speaking.md
    c.infer.chunk = 24  # tokens that are made heard together when streaming; the FM trains on it (plan.fm_chunks)
    c.infer.speaker_model = "voicefilter"  # that made the corpus's vectors, for a prompt's: a name of prepare --speaker
    c.infer.ode_steps = 1  # Euler steps of the FM; a young one does best with those that recon_mel unrolled
    c.infer.guidance = 0.0  # classifier-free guidance strength; 0 = off
    return c


def stage(**changes: Any) -> ConfigDict:
    """A stage with every key; `changes` replace values, nested ones key by key.

    Raises:
      KeyError: a key that a stage lacks.
    """
    s = ConfigDict()
    s.steps = 100
    s.batch_size = 16
    s.accumulate = 1  # microbatches a step; the gradient is exactly that of the whole batch
    s.ema = 0.0  # decay of an average of the parameters, which is then what the stage gives; 0 = none
    s.train = ()  # groups: tokenizer, llm, fm, rm
    s.terms = ConfigDict()  # weights; 0 = off
    s.terms.lm_ce = 0.0  # next token
    s.terms.lm_z = 0.0  # z-loss of the LLM, 1e-4 where logits drift
    s.terms.flow_match = 0.0  # velocity of the FM
    s.terms.recon_mel = 0.0  # L1 of the unrolled solver's mel
    s.terms.rm_ctc = 0.0  # recognition on what the plan sends to the RM
    s.terms.rm_spk = 0.0  # speaker
    s.terms.rm_ctc_sampled = 0.0  # recognition of what the LLM says when left alone
    s.terms.kl_ref = 0.0  # distance from the LLM as it was at the start of the stage
    s.monitor = ()  # terms to log without training on them
    s.lr = ConfigDict({"tokenizer": 0.0, "llm": 0.0, "fm": 0.0, "rm": 0.0})  # peak rate of each group
    s.optimizer = ConfigDict()
    s.optimizer.warmup = 0
    s.optimizer.decay = "cosine"  # or constant
    s.optimizer.final = 0.1  # last rate as a part of the peak
    s.optimizer.beta1 = 0.9
    s.optimizer.beta2 = 0.98
    s.optimizer.weight_decay = 0.01
    s.optimizer.clip = 1.0
    s.optimizer.muon = 0.0  # factor on the rate of matrices in blocks, which then take Muon's updates; 0 = AdamW
    s.plan = ConfigDict()  # how tokens travel: e2etts_jax/stages.py, Plan
    s.plan.tokens_to_fm = "codes"  # codes, codes_detached, llm_gumbel, llm_hidden
    s.plan.tokens_to_rm = "codes"  # codes, codes_detached, llm_gumbel
    s.plan.continuous_steps = 0
    s.plan.lm_into_tokenizer = 1.0
    s.plan.gumbel_temperature = (1.0, 1.0)
    s.plan.gumbel_hard = True
    s.plan.fm_crop_tokens = 0
    s.plan.fm_chunks = ()
    s.plan.fm_unroll_steps = 0
    s.plan.rm_noise_db = ()
    s.plan.rm_speed = ()
    for key, value in changes.items():
        if isinstance(value, dict):
            s[key].update(value)
        elif key in s:
            s[key] = value
        else:
            raise KeyError(f"a stage has no {key!r}; it has {', '.join(s)}")
    return s


def split(arg: str) -> tuple[str, list[str]]:
    """`size,key=value,key=value` -> the size and the pairs; commas inside a value's brackets stay."""
    size, *pairs = re.split(r",(?=[\w.]+=)", arg)
    return size, pairs


def override(config: ConfigDict, pairs: list[str]) -> ConfigDict:
    """Applies `key.path=value` strings; values are Python literals, or words.

    Raises:
      ValueError: a pair without '=', or a key that the config lacks.
    """
    for pair in pairs:
        path, found, text = pair.partition("=")
        if not found:
            raise ValueError(f"{pair!r} is neither a size nor key=value")
        node, *rest = config, *path.split(".")
        for name in rest[:-1]:
            node = node.get(name) if isinstance(node, ConfigDict) else None
        if not isinstance(node, ConfigDict) or rest[-1] not in node:
            raise ValueError(f"the config has no key {path!r}")
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            value = text
        node[rest[-1]] = value
    return config
