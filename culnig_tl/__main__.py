"""`python -m culnig_tl`: the same as `culnig`."""

from culnig_tl.cli.commands import main

main()
