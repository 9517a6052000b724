"""What a module must be like to become a plugin: its version of the plugin API, its hooks, and their arguments.

`i2i.plugins` calls these for each plugin that it loads; `i2i plugins` shows their sentences.
"""

from __future__ import annotations

from .api import API, refuse_other_api
from .hooks import refuse_wrong_hooks, unknown_argument

__all__ = ["API", "refuse_other_api", "refuse_wrong_hooks", "unknown_argument"]
