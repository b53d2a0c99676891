"""Thousands of damaged config.yaml files: all that reads settings takes each, or refuses it in one line."""

import json
from pathlib import Path

import pytest

from cli import fuzzing_settings
from data import fuzzing

FUZZER = Path(fuzzing_settings.__file__)


def test_some_damaged_settings_are_taken_or_refused(tmp_path):
    found = fuzzing.run_program(FUZZER, 150, tmp_path)
    assert found["refused"] > 10
    assert found["read"] > 25
    assert found["pool"] > 8  # the fuzzer follows the code


@pytest.mark.long
def test_many_damaged_settings_are_taken_or_refused(tmp_path):
    found = fuzzing.run_program(FUZZER, 20_000, tmp_path)
    print(json.dumps(found))
    assert found["cases"] == 20_000
    assert found["read"] > 2000
