"""`python -m streamfluo` is the command line."""

from .cli.cli import main

main()
