"""Draw docs/images/bands.png: where the filters of each scale have their frequencies, for both initializations."""

from pathlib import Path

from matplotlib import pyplot as plt

from resmfn.networks import BandSchedule, filter_boxes

BOX = 64
IMAGE = Path(__file__).resolve().parents[1] / "images" / "bands.png"


def main() -> None:
    """Draw one row a filter: the frequencies it is drawn from on one axis, and the band of the scale it completes."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 2.9), sharey=True, layout="constrained")
    bands = BandSchedule.paper(3)
    for axis, init, title in zip(axes, ("old", "new"), ("BACON (old)", "Residual MFN (new)"), strict=True):
        reach = 0.0
        for row, box in enumerate(filter_boxes(bands, BOX, init=init, quantized=True)):
            reach += box.half_width
            axis.barh(row, 2 * reach, left=-reach, height=0.72, color="0.9")
            for center in {-box.offset, 0.0, box.offset} if box.offset else {0.0}:
                spread = max(box.spread, 0.15)
                axis.barh(row, 2 * spread, left=center - spread, height=0.3, color=f"C{row}")
            axis.text(reach + 0.6, row, f"{reach:g}", va="center", fontsize=8)
        axis.set(title=title, xlabel="frequency on one axis, cycles per box", xlim=(-36, 36))
        axis.set_yticks(range(4), ["first filter", "scale 1", "scale 2", "scale 3"])
    figure.savefig(IMAGE, dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    main()
