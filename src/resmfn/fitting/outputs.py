"""The files that a fit writes to its run folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from torch import Tensor

from resmfn.data import write_map
from resmfn.data.pictures.files import write_image
from resmfn.data.runs.spectra import write_spectra
from resmfn.fitting.field import FittedField, save_field
from resmfn.fitting.measures import Measures, scale_spectra
from resmfn.fitting.samples import FitTarget
from resmfn.networks import MultiplicativeFilterNetwork, with_affine_output

FIELDS, FIELD_FILE, SPECTRA_FILE = "fields", "field.pt", "spectra.npz"
_OF_A_PUBLISHED_SET = re.compile(r"(train|test)_\d+")
PUBLISHED_SET_NOTE = (
    "train_NN and test_NN are the pictures of train_data and test_data of an .npz set. All of them are fitted alike: "
    "train PSNR is of the half-resolution pixels that were fitted, test PSNR of all pixels of the same picture."
)
MEASURES = tuple(f"{part}_{kind}" for kind in ("psnr", "ssim", "mse") for part in ("train", "test"))


def write_target(folder: Path, target: FitTarget) -> None:
    """Write the truth as pictures show it; makes the folder of the field."""
    folder.mkdir(parents=True, exist_ok=True)
    write_image(folder / "target.png", _picture(target.test.as_grid(target.test.values), target))


def write_snapshot(
    folder: Path, epoch: int, network: MultiplicativeFilterNetwork, target: FitTarget, values: Tensor
) -> None:
    """Write every scale's image (of a map: its central section) and the spectra, in a folder of that epoch.

    Parameters
    ----------
    folder
        Of the field.
    epoch
        Of the snapshot.
    network, target
        The fit.
    values
        (n_scales, *shape, channels) on the test grid.
    """
    place = folder / f"epoch_{epoch:06d}"
    place.mkdir(parents=True, exist_ok=True)
    for i, scale in enumerate(values, start=1):
        write_image(place / f"scale{i}.png", _picture(scale, target))
    write_spectra(place / SPECTRA_FILE, scale_spectra(values, network, target))


def write_field(folder: Path, network: MultiplicativeFilterNetwork, target: FitTarget, values: Tensor) -> None:
    """Write the fitted field, in the unit of the image or map; of a map also every scale as a map."""
    scaled = with_affine_output(network, target.gain, target.offset)
    save_field(folder / FIELD_FILE, FittedField(scaled, target.kind, target.test.shape, target.pixel_size))
    if target.kind == "volume" and target.pixel_size is not None:
        for i, scale in enumerate(values, start=1):
            write_map(folder / f"scale{i}.mrc", scale[..., 0].cpu(), target.pixel_size)


def _picture(values: Tensor, target: FitTarget) -> Tensor:
    """Values of 0 to 1 of an image, or of the central section of a map; (height, width, channels)."""
    if target.kind == "image":
        return values
    truth = target.test.values
    section = values[len(values) // 2].cpu()
    return (section - truth.min()) / (truth.max() - truth.min())


def summarize(records: Mapping[str, Measures]) -> dict[str, object]:
    """Mean of every measure over the set, a list over scales, and its standard deviation (``_std``) for two or more."""
    summary: dict[str, object] = {}
    for key in MEASURES:
        columns = list(zip(*(r[key] for r in records.values()), strict=True))
        summary[key] = [fmean(c) for c in columns]
        if len(records) > 1:
            summary[f"{key}_std"] = [stdev(c) for c in columns]
    return summary


def table_text(records: Mapping[str, Measures]) -> str:
    """Markdown table: PSNR of every scale and SSIM of the finest, for each image; mean and spread over the set."""
    n_scales = len(next(iter(records.values()))["train_psnr"])
    scales = [f"{i}" for i in range(1, n_scales + 1)]
    head = ["image", *(f"train PSNR {i}" for i in scales), *(f"test PSNR {i}" for i in scales)]
    head += ["train SSIM", "test SSIM"]
    rows = {name: _row(record) for name, record in records.items()}
    columns = list(zip(*rows.values(), strict=True))
    lines = [_line(head), _line(["---"] + ["---:"] * (len(head) - 1))]
    lines += [_line([name, *_numbers(row)]) for name, row in rows.items()]
    lines.append(_line(["**mean**", *_numbers([fmean(c) for c in columns])]))
    if len(rows) > 1:
        lines.append(_line(["**standard deviation**", *_numbers([stdev(c) for c in columns])]))
    if any(_OF_A_PUBLISHED_SET.fullmatch(name) for name in rows):
        lines += ["", PUBLISHED_SET_NOTE]
    return "\n".join(lines) + "\n"


def _row(record: Measures) -> list[float]:
    return [*record["train_psnr"], *record["test_psnr"], record["train_ssim"][-1], record["test_ssim"][-1]]


def _numbers(row: Sequence[float]) -> list[str]:
    return [*(f"{v:.2f}" for v in row[:-2]), *(f"{v:.4f}" for v in row[-2:])]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def plain(measures: Measures) -> Measures:
    """Round to seven digits: what is behind them depends on the machine's arithmetic."""
    return {k: [float(f"{v:.7g}") for v in values] for k, values in measures.items()}
