"""Hand-made models, a task and a wheel, small enough for any test; the rehearsal of the image runs on the same ones."""

from latentwire.rehearsal.tiny import (
    ANCHOR,
    CUES,
    FILLER,
    LABELS,
    PRIMER,
    tiny_causal_model,
    tiny_encoder_model,
    tiny_gguf,
    tiny_task,
    tiny_wheel,
    vocabulary,
)

__all__ = [
    "ANCHOR",
    "CUES",
    "FILLER",
    "LABELS",
    "PRIMER",
    "tiny_causal_model",
    "tiny_encoder_model",
    "tiny_gguf",
    "tiny_task",
    "tiny_wheel",
    "vocabulary",
]
