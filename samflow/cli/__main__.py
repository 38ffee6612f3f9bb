"""`python -m samflow.cli`: the same as `samflow`."""

from samflow.cli import main

if __name__ == "__main__":
    main()
