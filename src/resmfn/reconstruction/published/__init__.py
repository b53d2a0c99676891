"""The published implementation's reconstruction, step for step, with its faults repaired."""

from resmfn.reconstruction.published.config import PublishedConfig
from resmfn.reconstruction.published.run import PublishedResult, reconstruct_published

__all__ = ["PublishedConfig", "PublishedResult", "reconstruct_published"]
