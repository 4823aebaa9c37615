"""`python -m culnig_tl`: the same as `culnig`."""

from culnig_tl.cli import main

main()
