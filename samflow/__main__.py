"""`python -m samflow`: the same as the command `samflow`."""

from samflow.cli import main

if __name__ == "__main__":
    main()
