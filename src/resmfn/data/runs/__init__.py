"""Run folders: who may write one, its log, its checkpoint and its curves."""
