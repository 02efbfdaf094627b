"""`python -m callboard` is the `callboard` command."""

from callboard.launcher import main

main()
