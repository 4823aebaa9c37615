"""`python -m culnig_tl`: the same as `culnig`."""

from culnig_tl.cli.main import main

main()
