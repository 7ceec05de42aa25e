"""A run's losses as a picture."""

from pathlib import Path

from finetune.checkpoints import read_log


def draw(folder: Path) -> Path | None:
    """`curves.png` of a run's log; None where there is nothing to draw."""
    log = read_log(folder / "log.jsonl")
    steps = [entry for entry in log if entry["kind"] == "step"]
    evaluations = [entry for entry in log if entry["kind"] == "evaluation"]
    if not steps:
        return None
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and training must not wait

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (losses, accuracies) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    losses.plot([e["step"] for e in steps], [e["loss"] for e in steps], lw=0.8, label="a step")
    at = [entry["step"] for entry in evaluations]
    losses.plot(at, [e["train_loss"] for e in evaluations], "o-", label="training, mean")
    losses.plot(at, [e["loss"] for e in evaluations], "s-", label="validation")
    best = [entry for entry in evaluations if entry["best"]]
    if best:
        losses.axvline(best[-1]["step"], ls=":", color="grey", label="kept")
    losses.set(xlabel="step", ylabel="loss, nats a token")
    losses.legend()
    for slot in sorted({slot for entry in evaluations for slot in entry["slots"]}):
        shares = [e["slots"].get(slot, {}).get("accuracy", float("nan")) for e in evaluations]
        accuracies.plot(at, shares, "s-", label=slot)
    accuracies.set(xlabel="step", ylabel="validation: tokens guessed right", ylim=(0, 1))
    accuracies.legend()
    path = folder / "curves.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
