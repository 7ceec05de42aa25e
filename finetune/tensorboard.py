"""A run's figures as TensorBoard reads them, where somebody asks for it."""

from pathlib import Path

from finetune.errors import RunError
from finetune.train import Evaluated, Event, Stepped, Tell


def also(folder: Path, tell: Tell) -> Tell:
    """Tell, and write TensorBoard's files into a folder as well.

    Raises:
        RunError: the package is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - only where asked for
    except ImportError:
        raise RunError(
            "tensorboard: the package is not installed; run: pip install tensorboard"
        ) from None
    writer = SummaryWriter(str(folder))

    def both(event: Event) -> None:
        for name, value in _figures(event).items():
            step = getattr(event, "step", 0)
            writer.add_scalar(name, value, step)
        writer.flush()
        tell(event)

    return both


def _figures(event: Event) -> dict[str, float]:
    match event:
        case Stepped():
            speed = event.tokens / max(event.seconds, 1e-9)
            return {
                "training/loss": event.loss,
                "training/rate": event.rate,
                "training/gradient": event.gradient,
                "training/tokens_per_second": speed,
            }
        case Evaluated():
            slots = {
                f"validation/{slot} accuracy": told["accuracy"]
                for slot, told in event.slots.items()
            }
            return {
                "training/mean loss": event.train_loss,
                "validation/loss": event.loss,
                "validation/accuracy": event.accuracy,
                **slots,
            }
        case _:
            return {}
