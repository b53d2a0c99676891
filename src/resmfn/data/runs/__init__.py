"""Run folders: lock, log, checkpoint and curves."""
