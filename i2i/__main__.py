"""`python -m i2i` is `i2i`; this also starts the processes of `--nproc`."""

import os
import sys

from .cli import main

try:
    main()
except SystemExit as ended:
    if ended.code or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        raise
    # Threads of the group of processes may outlive the interpreter; one that had finished then ended by an abort now
    # and then ("terminate called without an active exception"), and took its training down with it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
