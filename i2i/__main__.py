"""`python -m i2i` is `i2i`; this also starts the processes of `--nproc`."""

import os
import sys

from .cli import main

try:
    main()
except SystemExit as ended:
    if ended.code or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        raise
    # Threads of the process group may outlive the interpreter: now and then a finished process aborted ("terminate
    # called without an active exception") and took the training down with it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
