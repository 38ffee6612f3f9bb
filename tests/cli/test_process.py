"""The command line as a process of its own: streams, exit codes, closed pipes, start-up."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from samflow.cli import process

MAIN = [sys.executable, "-c", "from samflow.cli import main; main()"]


def _samflow(*arguments, **environment):
    settings = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | environment
    return subprocess.run(
        [*MAIN, *arguments], capture_output=True, text=True, env=settings, timeout=120
    )


def test_a_process_is_in_double_precision_and_keeps_its_streams_apart():
    done = _samflow("saddle", "--loss", "x**2 - y**2", "--rho", "1", "--json")
    assert done.returncode == 0
    assert len(json.loads(done.stdout)["points"]) == 1
    assert done.stderr.splitlines() == [
        "Searching [-3, 3] × [-3, 3], because x**2 - y**2 has no domain of its own. Change the box "
        "with --box."
    ]


def test_misuse_in_a_process():
    done = _samflow("saddle", "--loss", "beale", "--rho", "nan")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Error: Argument `--rho`")
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_who_goes_away_is_no_error():
    with subprocess.Popen(
        [*MAIN, "losses"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # as `head` does, but surely before the first line
        assert process.stderr.read() == ""
        assert process.wait(timeout=60) == 141


def test_a_terminal_without_greek_letters_is_no_error():
    done = _samflow("rules", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "rho" in done.stdout


def test_help_does_not_load_jax():
    """Start-up is quick because heavy packages wait until a command needs them."""
    code = (
        "import sys; from samflow.cli import run; code = run(['saddle', '--help']); "
        "heavy = {'jax', 'equinox', 'sympy', 'matplotlib', 'numpy'} & set(sys.modules); "
        "sys.exit(code or ' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_stdout_is_one_line():
    with open("/dev/full", "w") as full:
        for command in (["losses"], ["--version"], ["saddle", "--help"]):
            done = subprocess.run(
                [*MAIN, *command], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
            )
            assert done.returncode == 2
            (line,) = done.stderr.splitlines()
            assert line.startswith("Error: The result cannot be printed: No space left on device")


def test_a_closed_stdout_is_said_before_any_work_and_a_file_is_written_without_it(tmp_path):
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *MAIN]
    done = subprocess.run([*shell, "losses"], stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 2
    assert "`-o` must be given if stdout is closed" in done.stderr
    done = subprocess.run(
        [*shell, "losses", "-o", str(tmp_path / "l.json")],
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert len(json.loads((tmp_path / "l.json").read_text())) > 5


def test_a_closed_stderr_keeps_messages_out_of_the_result():
    shell = ["sh", "-c", 'exec "$@" 2>&-', "sh", *MAIN]
    done = subprocess.run(
        [*shell, "portrait", "--loss", "nothing", "-o", "x.pdf"],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")


INTERRUPT = """
    import os, signal, sys

    class Finder:
        def find_spec(self, name, path, target=None):
            if name == {module!r}:
                sys.meta_path.remove(self)
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                except KeyboardInterrupt:
                    raise {error}
            return None

    sys.meta_path.insert(0, Finder())
    from samflow.cli import main
    main()
"""


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("typer", "KeyboardInterrupt"),
        ("samflow.cli.checkpoint", "KeyboardInterrupt"),
        ("sympy", "KeyboardInterrupt"),
        ("sympy", "ImportError('as modules in C make of it')"),
    ],
)
def test_ctrl_c_while_modules_are_imported_is_one_line(module, error):
    program = textwrap.dedent(INTERRUPT.format(module=module, error=error))
    done = subprocess.run(
        [sys.executable, "-c", program, "losses"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


@pytest.mark.slow
def test_ctrl_c_at_any_time_is_one_line():
    began = time.perf_counter()
    subprocess.run([*MAIN, "losses"], capture_output=True, timeout=60)
    whole = time.perf_counter() - began
    for share in range(1, 21):
        process = subprocess.Popen(
            [*MAIN, "losses"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        time.sleep(0.2 + whole * share / 22)  # by then Python itself has started
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) in ((130, "Interrupted.\n"), (0, "")), share


def test_threads_of_pytorch_sleep_while_they_wait_unless_the_user_says_otherwise():
    code = "import os; from samflow.cli.process import prepare; prepare();"
    code += "print(os.environ['OMP_WAIT_POLICY'])"
    for own, policy in ({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"):
        settings = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | own
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=settings, timeout=60
        )
        assert done.stdout.strip() == policy


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Return this process's environment, without what `prepare` sets."""
    for name in [n for n in os.environ if n.startswith("JAX_")] + ["XLA_FLAGS"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield os.environ
    for name in [n for n in os.environ if n.startswith("JAX_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("version", "known"), [((0, 5, 3), False), ((0, 6), True), ((0, 10, 2), True), ((0, 11), False)]
)
def test_flags_go_to_versions_that_know_them_only(environment, monkeypatch, version, known):
    monkeypatch.setattr(process, "_jaxlib", lambda: version)
    environment["XLA_FLAGS"] = "--of_the_user"
    process.compile_quickly()
    wanted = f"{process.COMPILE_FLAGS} --of_the_user" if known else "--of_the_user"
    assert environment["XLA_FLAGS"] == wanted  # of two that contradict each other the last counts


def test_programs_are_kept_in_the_users_cache(environment, tmp_path):
    process.keep_programs()
    folder = environment["JAX_COMPILATION_CACHE_DIR"]
    assert folder.startswith(str(tmp_path / "cache" / "samflow"))
    assert os.path.isdir(folder)
    environment["JAX_COMPILATION_CACHE_DIR"] = "elsewhere"
    process.keep_programs()
    assert environment["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"


def test_without_a_folder_that_can_be_written_nothing_is_kept(environment, tmp_path):
    (tmp_path / "cache").write_text("a file")
    process.keep_programs()
    assert "JAX_COMPILATION_CACHE_DIR" not in environment


def test_a_second_call_finds_the_programs_of_the_first(tmp_path):
    call = ("saddle", "--loss", "x**2 - y**2", "--box=-1,1", "--rho", "0.1", "--lr", "0.1")
    own = {"XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    first = _samflow(*call, **own)
    kept = {path.name for path in tmp_path.rglob("*") if path.name.endswith("-cache")}
    second = _samflow(*call, **own)
    assert kept
    assert {path.name for path in tmp_path.rglob("*") if path.name.endswith("-cache")} == kept
    assert (first.returncode, second.returncode) == (0, 0)
    assert second.stdout == first.stdout


def test_where_the_cache_cannot_be_bounded_nothing_is_kept(environment, monkeypatch):
    monkeypatch.setattr(process.importlib.util, "find_spec", lambda name: None)
    process.keep_programs()
    assert "JAX_COMPILATION_CACHE_DIR" not in environment
