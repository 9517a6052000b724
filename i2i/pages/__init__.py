"""Self-contained HTML pages: curves, pictures over time, two pictures with a divider, tables.

html = page("runs/a", [table({"psnr": "29.5"}), charts({"Losses": {"G/l1": [(1, 0.5), (2, 0.4)]}})])

A page is one file that needs no server and loads nothing: a Content-Security-Policy forbids everything but the
pictures embedded in it and its one script, `page.js`. It follows the system's light or dark colours, and fits a
phone. Without JavaScript the curves are plain, and the newest pictures are shown. Controls keep their state in the
address.
"""

from __future__ import annotations

from .parts import Sheet, charts, embedded, page, table, viewer, warning

__all__ = ["Sheet", "charts", "embedded", "page", "table", "viewer", "warning"]
