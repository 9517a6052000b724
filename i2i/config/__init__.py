"""YAML -> validated partials. One rule: `use:` names something in the catalog, the other keys are its arguments.

    chosen = config.load("configs/cyclegan.yaml", ["task.lambda_cycle=5"], catalog)
    task = chosen.task()

`source` reads untrusted YAML, `grammar` knows the arguments of each constructor, `experiment` combines both, `write`
writes a config, `shipped` finds those that come with packages. A config can only name what is installed: no imports,
includes or interpolation.
"""

from .experiment import Config, Train, changed, from_dict, load, metrics_of, parse, schema, task_of
from .grammar import Part
from .shipped import run_name
from .write import dump

__all__ = [
    "Config",
    "Part",
    "Train",
    "changed",
    "dump",
    "from_dict",
    "load",
    "metrics_of",
    "parse",
    "run_name",
    "schema",
    "task_of",
]
