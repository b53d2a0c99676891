"""Linear inverse problems: operators with adjoints, quadratics, and their solvers.

Data that are linear in a field, with noise of known variance, define a quadratic ``<x, K x> - 2 <b, x>``
(:class:`NormalOperator`). :func:`solve` finds its minimum on a grid, :func:`fit_network` among band-limited networks.
Precision and device follow the input, float64 included.
"""

from resmfn.inverse.conjugate_gradients import conjugate_gradients, solve
from resmfn.inverse.crew import Alone, Crew
from resmfn.inverse.fourier_operators import Convolution, FourierSampling, FourierSlices, ctf_operator
from resmfn.inverse.linear_operator import Composition, LinearOperator, Multiplication, Space, Sum, inner
from resmfn.inverse.network_fit import NetworkFit, fit_network, sample_network
from resmfn.inverse.normal_equations import NormalEquations, convolution_side, mask_window
from resmfn.inverse.parallel_beam import ParallelBeam
from resmfn.inverse.quadratic import LeastSquares, NormalOperator, Penalized, Prior, ShellPenalty, quadratic
from resmfn.inverse.scale_fit import fit_scale

__all__ = [
    "Alone",
    "Composition",
    "Convolution",
    "Crew",
    "FourierSampling",
    "FourierSlices",
    "LeastSquares",
    "LinearOperator",
    "Multiplication",
    "NetworkFit",
    "NormalEquations",
    "NormalOperator",
    "ParallelBeam",
    "Penalized",
    "Prior",
    "ShellPenalty",
    "Space",
    "Sum",
    "conjugate_gradients",
    "convolution_side",
    "ctf_operator",
    "fit_network",
    "fit_scale",
    "inner",
    "mask_window",
    "quadratic",
    "sample_network",
    "solve",
]
