"""`python -m analysis`: check every claim, draw every figure, write the report."""

if __name__ == "__main__":
    from samflow.cli.process import heed_interrupts

    heed_interrupts()  # before anything slow is imported

    from reporting.command import run

    run()
