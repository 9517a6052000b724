"""CycleGAN in float64, so that runs of one and of several processes agree to rounding: a file for `--plugin`.

Used by benchmarks/hosts.py and tests/test_processes.py.
"""

from __future__ import annotations

from i2i_cyclegan import CycleGAN

from i2i import Catalog, Loss, Network, hookimpl


class InDouble(CycleGAN):
    """CycleGAN whose weights, and all that its networks are given, are float64."""

    def __init__(self, generator: Network, discriminator: Network, gan: Loss, pool: int = 50) -> None:
        super().__init__(generator, discriminator, gan, pool=pool)
        self.double()
        for network in (self.G_ab, self.G_ba, self.D_a, self.D_b):
            network.register_forward_pre_hook(lambda _, given: given[0].double())


@hookimpl
def register(catalog: Catalog) -> None:
    """Add the task."""
    catalog.task("cyclegan_in_double", InDouble)
