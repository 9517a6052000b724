"""Batches and codes that do not fit a task are rejected with a one-sentence error."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from i2i import ConfigError, DataError
from i2i.data.shapes import refuse_other_codes, refuse_other_labels, refuse_other_samples

IMAGE, LABEL = torch.zeros(2, 1, 4, 4), torch.tensor([0, 1])


def test_a_valid_batch_is_accepted() -> None:
    refuse_other_samples({"image": IMAGE}, "vae", (1, 4, 4))
    refuse_other_samples({"image": IMAGE, "label": LABEL}, "gan", (1, 4, 4), ("a", "b"))


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({"label": LABEL}, 'gan needs samples with "image", but these have label: use another data set'),
        ({"image": IMAGE}, 'gan needs samples with "label", but these have image: use another data set, or task'),
        (
            {"image": IMAGE[..., :3], "label": LABEL},
            "gan was built for 1 x 4 x 4 values but the data has 1 x 4 x 3",
        ),
    ],
)
def test_an_invalid_batch_is_rejected(batch: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        refuse_other_samples(batch, "gan", (1, 4, 4), ("a", "b"))


def test_a_label_of_another_class_is_rejected() -> None:
    refuse_other_labels({"image": IMAGE, "label": LABEL}, "gan", ("a", "b"))
    refuse_other_labels({"image": IMAGE}, "gan", ("a", "b"))  # its lack is for `refuse_other_samples`
    refuse_other_labels({"image": IMAGE, "label": LABEL + 7}, "gan", ())
    with pytest.raises(ConfigError, match=r"^gan was built for 2 classes but the data has label 2: set task\."):
        refuse_other_labels({"image": IMAGE, "label": LABEL + 1}, "gan", ("a", "b"))


@pytest.mark.parametrize("shape", [(2, 4), (3,), (2, 3, 1)])
def test_codes_of_another_shape_are_rejected(shape: tuple[int, ...]) -> None:
    refuse_other_codes(torch.zeros(2, 3), 3)
    message = rf"^a latent of shape {re.escape(str(shape))} cannot be decoded: it should be \[N, 3\]$"
    with pytest.raises(DataError, match=message):
        refuse_other_codes(torch.zeros(shape), 3)
