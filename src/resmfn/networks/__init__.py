"""Multiplicative filter networks: band-limited, multi-scale fields of any dimension. No physics, no images here."""

from resmfn.networks.bands import BandSchedule
from resmfn.networks.checkpoint import load_network, load_plain, network_from_state, network_state, save_network
from resmfn.networks.config import NetworkConfig
from resmfn.networks.factories import VARIANTS, Variant, build_network, residual_mfn, variant
from resmfn.networks.filters import GaborFilter, SineFilter
from resmfn.networks.frequencies import FrequencyBox, draw_frequencies, filter_boxes, offset_directions
from resmfn.networks.grids import box_coordinates
from resmfn.networks.linear_filters import LinearFilter, filter_series
from resmfn.networks.mfn import MultiplicativeFilterNetwork, with_affine_output
from resmfn.networks.series import crop_centered, sample_series, series_on_axes

__all__ = [
    "VARIANTS",
    "BandSchedule",
    "FrequencyBox",
    "GaborFilter",
    "LinearFilter",
    "MultiplicativeFilterNetwork",
    "NetworkConfig",
    "SineFilter",
    "Variant",
    "box_coordinates",
    "build_network",
    "crop_centered",
    "draw_frequencies",
    "filter_boxes",
    "filter_series",
    "load_network",
    "load_plain",
    "network_from_state",
    "network_state",
    "offset_directions",
    "residual_mfn",
    "sample_series",
    "save_network",
    "series_on_axes",
    "variant",
    "with_affine_output",
]
