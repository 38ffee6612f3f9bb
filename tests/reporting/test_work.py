"""How a report is stopped: at once, and without Python's end of itself."""

import os
import signal
import subprocess
import sys
import textwrap

from reporting import work

LEAVING = """
    import atexit, multiprocessing, threading, time
    from samflow.cli.process import leave
    atexit.register(lambda: print("Python's end"))
    threading.Thread(target=time.sleep, args=(60,)).start()  # which Python's end waits for
    lock = multiprocessing.get_context("spawn").Lock()  # of which a tracker would warn
    print("first", end="")
    leave({code})
"""


def test_leaving_waits_for_no_thread_and_runs_no_end():
    for code in (130, 0):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(LEAVING.format(code=code))],
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert (done.returncode, done.stdout, done.stderr) == (code, "first", "")


def test_processes_that_start_meanwhile_do_not_hear_of_an_interrupt_and_we_do():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("here"))
    asked = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"
    try:
        with work._interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            child = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
            assert (child.returncode, child.stdout) == (0, "alive\n")
        assert seen == ["here"]
    finally:
        signal.signal(signal.SIGINT, before)
