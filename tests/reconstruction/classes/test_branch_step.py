"""Which classes are yet to be tried after one was divided: numbers move, and chances end."""

import torch

from resmfn.core import make_generator
from resmfn.reconstruction.classes.branch_step import CHANCES, _renumbered


def test_numbers_of_classes_that_are_yet_to_be_tried_follow_the_classes() -> None:
    """Against a list of names: the divided one is taken out, the new ones come last, those given up go one by one."""
    generator = make_generator(3)

    def drawn(most: int) -> int:
        return int(torch.randint(most, (1,), generator=generator))

    for _ in range(50):
        n_classes, n_maps = 1 + drawn(6), 2 + drawn(3)
        names = [f"old {k}" for k in range(n_classes)]
        divided = drawn(n_classes)
        untried = {k: 1 + k % 2 for k in range(n_classes) if k != divided and drawn(2)}
        left = {names[k]: chances for k, chances in untried.items()}
        names = [name for name in names if name != names[divided]] + [f"new {k}" for k in range(n_maps)]
        left |= {f"new {k}": 2 for k in range(n_maps)}
        given_up = []
        for _ in range(drawn(len(names))):
            given_up.append(drawn(len(names)))
            left.pop(names.pop(given_up[-1]), None)
        found = _renumbered(untried, divided, n_classes, n_maps, 2, given_up)
        assert {names[number]: chances for number, chances in found.items()} == left


def test_classes_that_come_of_divisions_without_one_more_are_not_tried_for_ever() -> None:
    """One class that is there twice, whatever is divided: each division spends a chance, and tries end."""
    untried, n_tries = {0: CHANCES}, 0
    while untried:
        number = max(untried)
        chances = untried.pop(number) - 1
        untried = _renumbered(untried, number, 3, 3, chances, [0, 0])
        n_tries += 1
        assert n_tries < 3**CHANCES
    assert n_tries > 1
