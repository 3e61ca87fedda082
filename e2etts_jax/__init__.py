"""End-to-end training of a text-to-speech system on discrete speech tokens, in JAX.

Four models, the speech tokenizer, the language model (LLM), the flow-matching decoder (FM) and the reward model (RM),
read one quantised representation of speech and are trained together in one step, after "End-to-End Training for
Discrete Token LLM based TTS System" (arXiv 2606.09234). Training starts at `main`, the wiring of the models is in
`forward` and what is trained on what is in `stages`.
"""

__version__ = "0.1.0"


def __getattr__(name: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 -- jax is imported when it is asked for
    if name in ("load", "Voice"):
        from e2etts_jax import api

        return getattr(api, name)
    raise AttributeError(f"module 'e2etts_jax' has no attribute {name!r}")
