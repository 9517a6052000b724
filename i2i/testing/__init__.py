"""The conformance kit: one call for each kind of thing that a package can bring, for our tests and for yours.

from i2i.testing import check_task
def test_it_keeps_the_contract():
    check_task(MyTask(...), {"A": torch.rand(2, 3, 32, 32) * 2 - 1})

A check returns nothing when all is well. Otherwise it raises `AssertionError`, or the `PluginError` that a run would
end with, and either says in one sentence what is broken.
"""

from ..modalities.conformance import check_modality
from .configs import check_config, read_config, shipped_configs
from .data import check_data
from .metrics import check_metric
from .networks import check_network
from .tasks import check_task
from .translate import check_translate

__all__ = [
    "check_config",
    "check_data",
    "check_metric",
    "check_modality",
    "check_network",
    "check_task",
    "check_translate",
    "read_config",
    "shipped_configs",
]
