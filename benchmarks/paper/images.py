"""The paper's ablation on images: five variants, several seeds, one set; resumable, one JSON and one table.

Shekarforoush et al., NeurIPS 2022 (arXiv 2206.00746), section 4.1. Each (seed, variant) is a run of
``resmfn fit-image`` in its own folder under --out: one that is whole is not made again, one that was cut short goes on.

    python benchmarks/paper/images.py photos/ --crop 512 --epochs 3000 --stages 500,1000,2000     # a GPU: 23 min
    python benchmarks/paper/images.py photos/ --crop 128 --hidden-dim 64 --epochs 1000            # a CPU: half an hour

A table's figures are means over the set, then over seeds; the spread is the standard deviation of the set's mean over
seeds. "Ahead" counts the images, of all seeds, in which the Residual MFN has the higher PSNR than staged BACON.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch

from resmfn.core import atomic_write
from resmfn.fitting import ImageFitConfig, fit_image
from resmfn.networks import VARIANTS

sys.path.append(str(Path(__file__).resolve().parents[1]))
from records import stamp

HERE = Path(__file__).resolve().parent.parent
MEASURES = ("train_psnr", "test_psnr", "train_ssim", "test_ssim")
OURS, BASELINE = "residual-mfn", "staged"


def main() -> None:
    """Fit what is missing, then write JSON and table."""
    options = parse_options()
    if options.threads:
        torch.set_num_threads(options.threads)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in options.variants}
    for seed in options.seeds:
        for name in options.variants:
            runs[name].append(fitted(options, name, seed))
            print(
                f"seed {seed} {name}: test PSNR {' '.join(f'{v:.2f}' for v in runs[name][-1]['test_psnr'])}", flush=True
            )
    report = {"benchmark": "paper_images", "case": OURS, "made_with": stamp()} | {
        "settings": settings_of(options),
        "variants": {n: summary_of(r) for n, r in runs.items()},
    }
    if {OURS, BASELINE} <= set(runs):
        report[f"{OURS} over {BASELINE}"] = lead_of(runs[OURS], runs[BASELINE])
    options.results.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(options.results) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n")
    print(table_of(report))


def fitted(options: argparse.Namespace, variant: str, seed: int) -> dict[str, Any]:
    """Return the summary of one run, made now or before."""
    config = ImageFitConfig(
        tuple(options.sources),
        out=options.out / f"{variant}_seed{seed}",
        variant=variant,
        seed=seed,
        crop=options.crop,
        epochs=options.epochs,
        stages=options.stages if VARIANTS[variant].staged else None,
        hidden_dim=options.hidden_dim,
        lr_schedule=options.lr_schedule,
        log_every=max(1, options.epochs // 4),
        device=options.device,
        tensorboard=False,
        resume=True,
    )
    return fit_image(config).summary


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Say what was asked for, and on what."""
    on_gpu = options.device != "cpu" and torch.cuda.is_available()
    machine = torch.cuda.get_device_name() if on_gpu else f"{platform.machine()}, {torch.get_num_threads()} threads"
    kept = ("crop", "epochs", "stages", "hidden_dim", "lr_schedule", "seeds")
    return {**{k: getattr(options, k) for k in kept}, "machine": machine, "torch": torch.__version__}


def summary_of(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread over seeds, by scale, with every image's figures beneath."""
    result: dict[str, Any] = {}
    for key in MEASURES:
        by_scale = list(zip(*(r[key] for r in runs), strict=True))
        result[key] = [round(fmean(v), 4) for v in by_scale]
        result[f"{key}_std_over_seeds"] = [round(stdev(v), 4) if len(v) > 1 else None for v in by_scale]
    result["ms_per_step"] = round(fmean(r["ms_per_step"] for r in runs), 3)
    result["cpu_seconds"] = round(sum(r["cpu_seconds"] for r in runs), 1)
    result["images"] = {
        str(r["seed"]): {n: {k: [round(v, 4) for v in f[k]] for k in MEASURES} for n, f in r["fields"].items()}
        for r in runs
    }
    return result


def lead_of(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """By how much, and in how many images, the first is ahead of the second at each scale."""
    result: dict[str, Any] = {}
    for key in ("train_psnr", "test_psnr"):
        gaps = [
            [x - y for x, y in zip(a["fields"][n][key], b["fields"][n][key], strict=True)]
            for a, b in zip(ours, theirs, strict=True)
            for n in a["fields"]
        ]
        by_scale = list(zip(*gaps, strict=True))
        result[key] = {
            "mean": [round(fmean(v), 4) for v in by_scale],
            "smallest": [round(min(v), 4) for v in by_scale],
            "ahead": [sum(x > 0 for x in v) for v in by_scale],
            "of": len(gaps),
        }
    return result


def table_of(report: dict[str, Any]) -> str:
    """Write the table in Markdown."""
    variants = report["variants"]
    n_scales = len(next(iter(variants.values()))["train_psnr"])
    head = [f"{part} PSNR, scale {i}" for part in ("train", "test") for i in range(1, n_scales + 1)]
    lines = [f"| variant | {' | '.join(head)} | test SSIM |", f"|---|{'---:|' * (len(head) + 1)}"]
    for name, result in variants.items():
        cells = []
        for key in ("train_psnr", "test_psnr"):
            spreads = result[f"{key}_std_over_seeds"]
            cells += [
                f"{v:.2f}" if s is None else f"{v:.2f} ± {s:.2f}" for v, s in zip(result[key], spreads, strict=True)
            ]
        lines.append(f"| {name} | {' | '.join(cells)} | {result['test_ssim'][-1]:.4f} |")
    for key, lead in ((k, v) for k, v in report.items() if k.endswith(BASELINE)):
        for part in ("train_psnr", "test_psnr"):
            gaps = ", ".join(f"{v:+.2f}" for v in lead[part]["mean"])
            ahead = ", ".join(f"{v}/{lead[part]['of']}" for v in lead[part]["ahead"])
            lines.append(f"\n{key}, {part}: {gaps} dB by scale; ahead in {ahead}")
    return "\n".join(lines)


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", help="image files, folders, .npz, or built-in sets")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--crop", type=int, default=None)
    parser.add_argument("--epochs", type=int, default=10_000)
    parser.add_argument("--stages", type=lambda s: tuple(map(int, s.split(","))), default=None)
    parser.add_argument("--hidden-dim", type=int, default=256)
    parser.add_argument("--lr-schedule", choices=["constant", "settle", "cosine"], default="constant")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=None, help="of the CPU")
    parser.add_argument("--out", type=Path, default=HERE / "out" / "paper_images", help="folder of the runs")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "paper_images.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
