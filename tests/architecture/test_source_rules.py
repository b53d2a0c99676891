"""The rules themselves: each flags a file that breaks it and passes one that keeps it."""

import ast
from collections.abc import Callable

import pytest

from architecture import source_rules as rules

LONG_FUNCTION = "def f():\n" + "    x = 1\n" * rules.MAX_FUNCTION_LINES
LONG_DOCSTRING = 'def f():\n    """' + "Say.\n" * rules.MAX_FUNCTION_LINES + '    """\n'


def violations(rule: Callable, source: str) -> list[str]:
    tree = ast.parse(source)
    return list(rule(tree, source)) if rule is rules.too_long else list(rule(tree))


@pytest.mark.parametrize(
    ("rule", "broken", "kept"),
    [
        (rules.too_long, "x = 1\n" * (rules.MAX_MODULE_LINES + 1), "x = 1\n" * rules.MAX_MODULE_LINES),
        (rules.too_long, LONG_FUNCTION, "def f():\n    x = 1\n"),
        (rules.too_long, LONG_FUNCTION, LONG_DOCSTRING),
        (rules.too_many_arguments, "def f(a, b, c, d, e, /, g, *, h, i, j): ...", "def f(a, b, c, d, e, f, g, h): ..."),
        (rules.undocumented, "x = 1", '"""Say what."""'),
        (rules.undocumented, '"""Doc."""\ndef f(): ...', '"""Doc."""\ndef _f(): ...'),
        (rules.undocumented, '"""Doc."""\nclass A:\n  "D"\n  def f(self): ...', '"""Doc."""\nclass A:\n  "D"'),
        (rules.unannotated, "def f(a) -> int: ...", "def f(a: int) -> int: ..."),
        (rules.unannotated, "def f(*rest: int): ...", "def f(*rest: int) -> None: ..."),
        (rules.unannotated, "class A:\n  def f(self, a): ...", "class A:\n  def f(self, a: int) -> int: ..."),
        (rules.prints, "print(1)", "log.info('1')"),
        (rules.asserts, "assert x", "if not x: raise ValueError"),
        (rules.unseeded_draws, "torch.randn(3)", "torch.randn(3, generator=g)"),
        (rules.unseeded_draws, "x.data.uniform_(-1, 1)", "x.data.uniform_(-1, 1, generator=g)"),
        (rules.unseeded_draws, "np.random.rand(3)", "np.random.default_rng(seed).random(3)"),
        (rules.unseeded_draws, "np.random.default_rng()", "np.random.default_rng(0)"),
        (rules.unseeded_draws, "random.shuffle(x)", "shuffle(x)"),
        (rules.unseeded_draws, "torch.manual_seed(0)", "torch.Generator().manual_seed(0)"),
        (rules.implicit_grids, "torch.meshgrid(a, b)", "torch.meshgrid(a, b, indexing='ij')"),
        (rules.forced_precision, "x.float()", "float(x)"),
        (rules.forced_precision, "torch.zeros(3, dtype=torch.float32)", "torch.zeros(3, dtype=x.dtype)"),
        (rules.forced_precision, "x.to(torch.float32)", "def f(dtype=torch.float32): ..."),
    ],
)
def test_rule_tells_a_broken_file_from_a_good_one(rule, broken, kept):
    assert violations(rule, broken)
    assert not violations(rule, kept)
