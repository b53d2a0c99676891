"""The settings' own limits."""

import pytest

from resmfn.core import InputError
from resmfn.reconstruction.published.config import PublishedSettings


def test_scales_join_at_the_switches():
    settings = PublishedSettings(stages="22,44")
    assert [settings.scale_at(epoch) for epoch in (0, 21, 22, 43, 44, 85)] == [1, 1, 2, 2, 3, 3]
    assert PublishedSettings(variant="vanilla", stages="").scale_at(0) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stages": "25"}, "--stages must be 2 growing whole epochs"),
        ({"stages": "50,25"}, "--stages must be"),
        ({"stages": "a,b"}, "--stages must be numbers"),
        ({"init_from_truth": "90,45"}, "--init-from-truth must be two angles"),
        ({"init_from_truth": "45"}, "--init-from-truth"),
        ({"pose_beta1": 1.0}, "--pose-beta1"),
        ({"pose_lr_decay": 0.0}, "--pose-lr-decay"),
        ({"epochs": 0}, "--epochs must be at least 1"),
        ({"bacon_lr": -1.0}, "--bacon-lr"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        PublishedSettings(**changes)


def test_the_whole_sphere_is_searched_once_scale_2_has_joined():
    assert PublishedSettings(stages="22,30").search_epochs == (24, 26, 28)
    assert PublishedSettings(stages="22,44", pose_searches=2).search_epochs == (24, 26)
    assert PublishedSettings(pose_searches=0).search_epochs == ()
    assert PublishedSettings(variant="vanilla", epochs=31).search_epochs == (27, 29)
    assert PublishedSettings(bacon_hidden_layers=1, stages="").search_epochs == ()
