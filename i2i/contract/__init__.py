"""The contract of a task: every way to break it, each as one sentence that names the task, the file and the line.

The engine checks it while training and `i2i.testing` checks it in tests, both through this package, so that an author
reads the same sentence in either place. `players` and `turns` check what the engine trains, `answers` what a run
shows and logs; `places` finds the line. The checks of a step look at types and shapes only: none waits for a device.
"""

from .answers import check_answers, flaw_of_numbers, random_state_kept
from .places import name_of
from .players import builder_for, players_of
from .turns import backward, evaluated, next_turn, not_finite, turns_of

__all__ = [
    "backward",
    "builder_for",
    "check_answers",
    "evaluated",
    "flaw_of_numbers",
    "name_of",
    "next_turn",
    "not_finite",
    "players_of",
    "random_state_kept",
    "turns_of",
]
