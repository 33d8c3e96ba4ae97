"""`python -m streamfluo` is the command line."""

from .app.cli import main

main()
