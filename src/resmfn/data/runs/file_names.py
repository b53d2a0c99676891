"""Names of the files of a run folder, for writers and readers."""

CONFIG, CHECKPOINT, METRICS, LOG, LOCK = "config.yaml", "checkpoint.pt", "metrics.jsonl", "run.log", ".lock"
PREVIOUS = "checkpoint_previous.pt"
"""The checkpoint before the last one, in case the last was not written completely."""
PROGRESS, SUMMARY = "progress.json", "summary.json"
MAP, MASK, HALF_MAPS = "map.mrc", "mask.mrc", ("half1.mrc", "half2.mrc")
UNMASKED_HALF_MAPS = ("half1_unfil.mrc", "half2_unfil.mrc")
PARTICLES = "particles.star"
VALIDATION, FSC, DIRECTIONAL_FSC, FSC_XML = "validation.json", "fsc.csv", "fsc_directional.csv", "fsc.xml"
LOCAL_RESOLUTION = "local_resolution.mrc"
SYMMETRY = "symmetry.json"
