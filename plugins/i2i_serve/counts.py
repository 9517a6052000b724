"""What /metrics says, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Counts:
    """Counters since the start of the server."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.jobs: Counter[tuple[str, str]] = Counter()
        self.seconds: Counter[str] = Counter()
        self.restarts = 0

    def answered(self, route: str, status: int) -> None:
        """Count a request."""
        self.requests[route, status] += 1

    def computed(self, do: str, state: str, seconds: float) -> None:
        """Count a job."""
        self.jobs[do, state] += 1
        self.seconds[do] += seconds  # type: ignore[assignment]

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Return the page.

        Args:
            gauges: by name, what a number means and the number.
        """
        lines = [
            *head("i2i_requests_total", "counter", "Requests by route and status."),
            *(f'i2i_requests_total{{route="{r}",status="{s}"}} {n}' for (r, s), n in sorted(self.requests.items())),
            *head("i2i_jobs_total", "counter", "Jobs that were computed, by what was done and how they ended."),
            *(f'i2i_jobs_total{{do="{d}",state="{s}"}} {n}' for (d, s), n in sorted(self.jobs.items())),
            *head("i2i_job_seconds_total", "counter", "Seconds spent computing."),
            *(f'i2i_job_seconds_total{{do="{d}"}} {n:.3f}' for d, n in sorted(self.seconds.items())),
            *head("i2i_worker_restarts_total", "counter", "How often the worker was started again."),
            f"i2i_worker_restarts_total {self.restarts}",
        ]
        for name, (meaning, value) in gauges.items():
            lines += [*head(name, "gauge", meaning), f"{name} {value:g}"]
        return "\n".join(lines) + "\n"


def head(name: str, kind: str, meaning: str) -> list[str]:
    """Return the lines before the numbers of a metric."""
    return [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
