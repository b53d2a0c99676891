"""Rules that every source file keeps, as functions from a parsed module to the places that break them.

Each returns lines of the form ``line: what is wrong``; ``test_source_rules.py`` shows each of them a file that breaks
it, ``test_sources.py`` shows them the package.
"""

import ast
from collections.abc import Iterator

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_ARGUMENTS = 8
BANNED_MODULE_NAMES = ("utils", "util", "common", "helpers", "misc")

# Functions that draw numbers, from torch or as tensor methods, and the global switches that stand in for a generator.
TORCH_DRAWS = (
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like",
    "multinomial", "bernoulli", "normal", "poisson",
)  # fmt: skip
TENSOR_DRAWS = (
    "normal_", "uniform_", "random_", "bernoulli_", "exponential_", "cauchy_", "geometric_", "log_normal_",
    "multinomial",
    "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_", "trunc_normal_",
)  # fmt: skip
GLOBAL_SEEDS = ("torch.manual_seed", "torch.cuda.manual_seed", "torch.cuda.manual_seed_all", "torch.seed")
NUMPY_ALLOWED = ("default_rng", "Generator", "SeedSequence")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def too_long(tree: ast.Module, source: str) -> Iterator[str]:
    """Modules are read in one go, functions fit on a screen, docstring aside."""
    n_lines = len(source.splitlines())
    if n_lines > MAX_MODULE_LINES:
        yield f"1: the module has {n_lines} lines, more than {MAX_MODULE_LINES}"
    for node in ast.walk(tree):
        if isinstance(node, Function) and (length := _length(node)) > MAX_FUNCTION_LINES:
            yield f"{node.lineno}: {node.name} has {length} lines, more than {MAX_FUNCTION_LINES}"


def too_many_arguments(tree: ast.Module) -> Iterator[str]:
    """Eight arguments at most; the rest belongs in a record."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            names = [a.arg for a in _arguments(node) if a.arg not in ("self", "cls")]
            if len(names) > MAX_ARGUMENTS:
                yield f"{node.lineno}: {node.name} takes {len(names)} arguments, more than {MAX_ARGUMENTS}"


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Every module, public class, function and method says what it does."""
    if not ast.get_docstring(tree):
        yield "1: the module has no docstring"
    for owner, node in _public(tree):
        if not ast.get_docstring(node) and not _is_overload(node):
            yield f"{node.lineno}: {owner}{node.name} has no docstring"


def unannotated(tree: ast.Module) -> Iterator[str]:
    """Every public function and method says the types of all it takes and of what it returns."""
    for owner, node in _public(tree):
        if not isinstance(node, Function):
            continue
        bare = [a.arg for a in _arguments(node) if a.annotation is None and a.arg not in ("self", "cls")]
        if bare:
            yield f"{node.lineno}: {owner}{node.name} leaves {', '.join(bare)} without a type"
        if node.returns is None:
            yield f"{node.lineno}: {owner}{node.name} does not say what it returns"


def prints(tree: ast.Module) -> Iterator[str]:
    """Only the command line prints."""
    for call in _calls(tree):
        if _dotted(call.func) in ("print", "sys.stdout.write", "sys.stderr.write"):
            yield f"{call.lineno}: calls {_dotted(call.func)}"


def asserts(tree: ast.Module) -> Iterator[str]:
    """Python drops assert under -O: what must hold is checked with an error that explains itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield f"{node.lineno}: uses assert"


def unseeded_draws(tree: ast.Module) -> Iterator[str]:
    """Every random number comes from a generator that the caller passed in."""
    for call in _calls(tree):
        name = _dotted(call.func)
        method = name.rpartition(".")[2]
        numpy_draw = name.startswith(("np.random.", "numpy.random."))
        draws = name in {f"torch.{draw}" for draw in TORCH_DRAWS} or ("." in name and method in TENSOR_DRAWS)
        if name in GLOBAL_SEEDS or name.startswith("random.") or (numpy_draw and method not in NUMPY_ALLOWED):
            yield f"{call.lineno}: {name} uses global random state"
        elif numpy_draw and method == "default_rng" and not call.args and not call.keywords:
            yield f"{call.lineno}: {name} has no seed"
        elif draws and not any(k.arg == "generator" for k in call.keywords):
            yield f"{call.lineno}: {name} has no generator="


def implicit_grids(tree: ast.Module) -> Iterator[str]:
    """A meshgrid always says its indexing: leaving it out is how a CTF gets transposed."""
    for call in _calls(tree):
        if _dotted(call.func).endswith("meshgrid") and not any(k.arg == "indexing" for k in call.keywords):
            yield f"{call.lineno}: meshgrid without indexing="


def forced_precision(tree: ast.Module) -> Iterator[str]:
    """The dtype follows the input; ``.float()`` and a float32 literal in a call break float64 runs."""
    for call in _calls(tree):
        name = _dotted(call.func)
        if isinstance(call.func, ast.Attribute) and call.func.attr == "float" and not call.args:
            yield f"{call.lineno}: {name}() forces float32"
        literals = [*call.args, *(k.value for k in call.keywords)]
        if any(_dotted(value) in ("torch.float32", "torch.float", "torch.complex64") for value in literals):
            yield f"{call.lineno}: {name} is given float32 whatever its input is"


def _public(tree: ast.Module) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Yield public functions, classes and their public methods, each with its owner's name as a prefix."""
    for node in tree.body:
        if isinstance(node, (*Function.__args__, ast.ClassDef)) and not node.name.startswith("_"):
            yield "", node
            if isinstance(node, ast.ClassDef):
                for child in node.body:
                    if isinstance(child, Function) and not child.name.startswith("_"):
                        yield f"{node.name}.", child


def _arguments(node: Function) -> list[ast.arg]:
    spec = node.args
    starred = [a for a in (spec.vararg, spec.kwarg) if a is not None]
    return [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *starred]


def _is_overload(node: Function | ast.ClassDef) -> bool:
    return any(_dotted(decorator).endswith("overload") for decorator in node.decorator_list)


def _length(node: Function) -> int:
    """Count a function's lines of signature and code; the docstring is not what has to fit on a screen."""
    text = node.body[0] if ast.get_docstring(node) else None
    documented = (text.end_lineno or text.lineno) - text.lineno + 1 if text else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - documented


def _calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` for an attribute chain; an expression in front of the chain is written as ``?``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return "?"
