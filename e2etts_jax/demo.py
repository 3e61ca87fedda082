"""A page to try a trained run on, in the browser:

python -m e2etts_jax.demo --workdir=runs/joint [--stage=tune] [--port=7860] [--infer=candidates=1]

It is served to this machine alone unless --host says otherwise, and asks no other server for anything. It needs Gradio:
pip install "e2etts_jax[demo]".
"""

import contextlib
import html
import logging
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from absl import app, flags
from jaxtyping import Int16

from e2etts_jax import cli, run_flags, trained_flags

if TYPE_CHECKING:
    from e2etts_jax.infer.demonstrator import Demonstrator, Spoken

HOST = flags.DEFINE_string("host", "127.0.0.1", "address to serve the page at; 0.0.0.0 = to every machine that asks")
PORT = flags.DEFINE_integer("port", None, "of the page; by default the first free one from 7860 on")
SHARE = flags.DEFINE_boolean("share", False, "a public address for three days, through Gradio's servers")

MISSING = 'the page needs Gradio: pip install "e2etts_jax[demo]"'
KEPT = 2  # stages in memory
LARGEST_SEED = 2**31 - 1

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif")
MONO = ("ui-monospace", "Menlo", "Consolas", "monospace")
CSS = """
.gradio-container { width: 100%; max-width: 66rem !important; margin: 0 auto !important; }
.head h1 { font-size: 1.5rem; font-weight: 600; margin: .5rem 0 0; }
.head p, .behind small { opacity: .7; font-size: .9rem; }
.behind p { margin: .4rem 0 0; }
.tokens { display: block; width: 100%; height: auto; font-variant-numeric: tabular-nums; }
"""


# --- the work ---------------------------------------------------------------------------------------------------------


class Stages:
    """The models of a run's stages. The last `KEPT` that were heard stay in memory.

    Attributes:
      names: stages with checkpoints, as the run trains them.
      first: the one to begin with.
    """

    def __init__(self, workdir: str, stage: str | None = None, infer: Sequence[str] = ()) -> None:
        """Raises FileNotFoundError and ValueError as `Synthesizer.load`."""
        from e2etts_jax import checkpoint
        from e2etts_jax.infer.demonstrator import Demonstrator

        self._load = lambda name: cast(Demonstrator, Demonstrator.load(workdir, name, infer=infer))
        model = self._load(stage)
        saved = checkpoint.saved_stages(workdir)
        self.names = [name for name in model.config.run if name in saved] or [model.stage]
        self.first = model.stage
        self._kept = {model.stage: model}

    def __getitem__(self, name: str) -> "Demonstrator":
        model = self._kept.pop(name, None) or self._load(name)
        self._kept[name] = model  # at the end: the dictionary is in the order of use
        if len(self._kept) > KEPT:
            del self._kept[next(iter(self._kept))]
        return model


def speak(stages: Stages, text: str, recording: str | None, words: str, stage: str, seed: float | None) -> "Spoken":
    """Says a text, in the voice of a recording if there is one.

    Args:
      recording: path of an audio file.
      words: what is said in it.

    Raises:
      FileNotFoundError, ValueError: what the text, the recording or the stage lacks.
    """
    from e2etts_jax.data import audio
    from e2etts_jax.infer.prompt import Prompt

    prompt = Prompt(*audio.decode(recording), words) if recording else None
    if words.strip() and prompt is None:
        raise ValueError("words without a recording: give the one in which they are said, or clear them")
    return stages[stage].speak(text, int(seed or 0), prompt)


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """The messages that the package warns with while the block runs, each once."""
    messages: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() not in messages:
                messages.append(record.getMessage())

    logger, handler = logging.getLogger("e2etts_jax"), Collector(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


def pcm(wav: np.ndarray) -> Int16[np.ndarray, " W"]:
    """16-bit samples: of others Gradio would change the loudness."""
    return np.round(32767 * np.clip(wav, -1, 1)).astype(np.int16)


def shown(spoken: "Spoken") -> str:
    """HTML: mel and tokens, what the reward model reads in them, how long the speech is and how long it took."""
    from e2etts_jax.evaluate.figures import tokens_svg

    facts = [
        f"{spoken.seconds:.2f} s of speech in {spoken.took:.2f} s: "
        f"real-time factor <b>{spoken.took / spoken.seconds:.2f}</b>"
    ]
    if spoken.compiled:
        facts.append("programs were compiled meanwhile; the next sentence takes less time")
    if spoken.pieces > 1:
        facts.append(f"said in {spoken.pieces} pieces, drawn without the pauses between them")
    return (
        f"{tokens_svg(spoken.log_mel, spoken.ids, spoken.span)}"
        f"<p><small>the reward model reads</small> {html.escape(spoken.read) or 'nothing'}</p>"
        f"<p><small>{' · '.join(facts)}</small></p>"
    )


# --- the page ---------------------------------------------------------------------------------------------------------


def page(stages: Stages, workdir: str) -> Any:
    """The page, a `gradio.Blocks`.

    Raises:
      ImportError: the demo extra is missing.
    """
    gr = gradio()

    def pressed(text: str, recording: str | None, words: str, stage: str, seed: float | None) -> tuple:
        try:
            with collected_warnings() as warnings:
                spoken = speak(stages, text, recording, words, stage, seed)
        except cli.MENDABLE as error:
            raise gr.Error(html.escape(str(error)), print_exception=False) from None
        for message in warnings:
            gr.Warning(html.escape(message))
        return (spoken.rate, pcm(spoken.wav)), shown(spoken)

    with gr.Blocks(title="e2etts_jax", analytics_enabled=False, delete_cache=(3600, 3600)) as blocks:
        gr.HTML(
            f"<h1>e2etts_jax</h1><p>{html.escape(workdir)} · "
            "the first sentence takes longer, because its programs are compiled then</p>",
            elem_classes="head",
        )
        with gr.Row():
            with gr.Column(scale=3):
                text = gr.Textbox(label="Text", lines=7, placeholder="What to say, of any length", autofocus=True)
                with gr.Row():
                    stage = gr.Radio(stages.names, value=stages.first, label="Stage", scale=3, min_width=220)
                    seed = gr.Number(
                        0, label="Seed", precision=0, minimum=0, maximum=LARGEST_SEED, scale=1, min_width=110
                    )
                button = gr.Button("Speak", variant="primary")
            with gr.Column(scale=2):
                recording = gr.Audio(
                    label="Voice prompt, if it is to be another's voice",
                    sources=["upload", "microphone"],
                    type="filepath",
                )
                words = gr.Textbox(label="What is said in the prompt", lines=1)
        sound = gr.Audio(label="Speech", format="wav", autoplay=True, interactive=False, buttons=["download"])
        behind = gr.HTML(elem_classes="behind")
        gr.on(
            [button.click, text.submit],
            pressed,
            [text, recording, words, stage, seed],
            [sound, behind],
            concurrency_limit=1,  # one model speaks, and one collector hears its warnings
            api_name="speak",
        )
    return blocks


def gradio() -> Any:
    """The package of that name, told to call nobody; ImportError says how to install it."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
    try:
        import gradio
    except ImportError as error:
        raise ImportError(MISSING) from error
    logging.getLogger("httpx").setLevel(logging.WARNING)  # by which it asks itself whether it is up
    return gradio


def serve(blocks: Any, host: str, port: int | None, share: bool) -> tuple[str, str | None]:
    """Starts to answer, in threads of its own; the local address, and the shared one if there is one.

    Raises:
      OSError: the port is taken.
    """
    gr = gradio()
    try:
        _, local, shared = blocks.launch(
            server_name=host,
            server_port=port,
            share=share,
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            footer_links=[],
            theme=gr.themes.Default(font=SANS, font_mono=MONO),
            css=CSS,
        )
    except OSError as error:
        if port is None or "empty port" not in str(error):
            raise
        raise OSError(f"port {port} is taken: choose another --port; without it, the first free one is used") from None
    return local, shared


def main(argv: Sequence[str]) -> int:
    cli.prepare()

    def command() -> None:
        from e2etts_jax.infer import voice

        gradio()  # before the models, which take longer
        workdir = str(run_flags.WORKDIR.value or voice.packaged())
        stages = Stages(workdir, trained_flags.STAGE.value, trained_flags.INFER.value)
        blocks = page(stages, workdir)
        local, shared = serve(blocks, HOST.value, PORT.value, SHARE.value)
        print(f"{shared or local}  speaks with stage {stages.first} of {workdir}; Ctrl-C ends it", flush=True)
        blocks.block_thread()

    return cli.guarded(command)


if __name__ == "__main__":
    app.run(main, flags_parser=cli.parse_flags)
