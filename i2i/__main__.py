"""`python -m i2i` is `i2i`; torchrun starts it this way."""

from .cli import main

main()
