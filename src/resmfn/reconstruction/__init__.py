"""Images with unknown poses to maps: search, refinement in independent halves, networks fitted to both."""

from resmfn.reconstruction.config import ReconstructionConfig
from resmfn.reconstruction.context import ProgressEvent
from resmfn.reconstruction.reconstruct import ReconstructionResult, reconstruct

__all__ = ["ProgressEvent", "ReconstructionConfig", "ReconstructionResult", "reconstruct"]
