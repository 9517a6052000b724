"""`python -m i2i` is `i2i`; this also starts the processes of `--nproc`."""

import os
import sys

from .cli import main


def run() -> None:
    """Run the command line; one of several training processes ends without waiting for its threads.

    Threads of the process group may outlive the interpreter: now and then a process that had finished, or stopped
    with an error, aborted ("terminate called without an active exception"), and its exit code was lost.
    """
    try:
        main()
    except SystemExit as ended:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else int(ended.code is not None))


if __name__ == "__main__":
    run()
