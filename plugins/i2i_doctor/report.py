"""What a check finds: `Finding`, and all of them as text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from i2i.errors import counted

WIDTH = 110
MARKS = {"ok": " ", "note": "-", "problem": "!"}


class Finding(NamedTuple):
    """One line.

    Attributes:
        section: the heading that it belongs to.
        name: of what was looked at.
        value: what was found.
        level: "ok"; "note", if something is missing that one can do without; "problem", if something will not work.
        todo: what to do about a note or a problem.
    """

    section: str
    name: str
    value: str
    level: Literal["ok", "note", "problem"] = "ok"
    todo: str = ""


Check = Callable[[], Iterable[Finding]]


def examined(checks: Mapping[str, Check]) -> list[Finding]:
    """Run all checks; one that fails is a problem by itself and ends none of the others."""
    return [finding for section, check in checks.items() for finding in guarded(section, check)]


def guarded(section: str, check: Check) -> Iterator[Finding]:
    """Yield what one check finds."""
    try:
        yield from check()
    except (Exception, SystemExit) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        yield Finding(section, "check", told, "problem", f"report this, with the output of `i2i doctor`: {section}")


def text(found: list[Finding]) -> str:
    """Return all findings by section, and below them what to do."""
    lines: list[str] = []
    section = ""
    for one in found:
        if one.section != section:
            section = one.section
            lines += ["", section]
        start = f"{MARKS[one.level]} {one.name:22} "
        lines.append(start + one.value)
        if one.todo:
            lines += textwrap.wrap(one.todo, WIDTH, initial_indent=" " * 25, subsequent_indent=" " * 25)
    problems = [one for one in found if one.level == "problem"]
    lines.append("")
    if problems:
        lines.append(f"{counted(len(problems), 'problem')}: {', '.join(one.name for one in problems)}")
    else:
        lines.append("No problems found. Lines with - are optional.")
    return "\n".join(lines[1:])
