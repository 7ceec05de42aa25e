"""How much arithmetic training is, and how much of what a GPU can do that uses."""

from typing import Any

PEAK_TFLOPS = {
    "H100": 989.0,
    "H200": 989.0,
    "H800": 989.0,
    "A100": 312.0,
    "A800": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
    "4090": 165.0,
    "B200": 2250.0,
}
"""Dense bf16 matrix products without sparsity, from the makers' data sheets; SXM where there are
two."""


def flops_per_token(model: Any, length: float, full: bool) -> float:
    """Floating-point operations to train on one token, forward and backward.

    Two a weight forward, two for the gradient of what came in, two for the gradient of the weight,
    the last of which a frozen weight does not need; and attention's products of `length` keys, half
    of them masked. Kaplan et al. 2020 (arXiv:2001.08361), PaLM 2022 (arXiv:2204.02311), appendix B.
    The input embedding is a look-up and counts nothing; the output layer counts only where it
    predicts something, which is left out, so that the figure is rather too low.
    """
    config = model.config
    embedding = config.vocab_size * config.hidden_size
    tables = 1 if config.tie_word_embeddings else 2
    weights = model.num_parameters() - tables * embedding
    attention = 2 * config.num_hidden_layers * config.hidden_size * length
    return float((6 if full else 4) * weights + 3 * attention)


def peak_flops(device: str) -> float | None:
    """The bf16 operations a second a GPU of that name can do; None if it is not in the table."""
    found = [peak for name, peak in PEAK_TFLOPS.items() if name in device]
    return found[0] * 1e12 if found else None
