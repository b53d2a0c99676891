"""Images with unknown poses to maps: search, refinement in independent halves, networks fitted to both."""

from resmfn.core.progress import ProgressEvent
from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reconstruction.reconstruct import ReconstructionResult, reconstruct

__all__ = ["ProgressEvent", "ReconstructionConfig", "ReconstructionResult", "reconstruct"]
