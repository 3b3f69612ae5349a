"""A process that is interrupted by Ctrl-C."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest


def interrupt(folder, code, *arguments):
    """Run code in a folder; when it says "started" interrupt it; return what it then says."""
    (folder / "program.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, "program.py", *arguments], cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip

    def end():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    clock = threading.Timer(60, end)  # then it says no more
    clock.start()
    try:
        assert process.stdout.readline() == "started\n", process.stderr.read()
        time.sleep(0.7)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "returned\n", process.stderr.read()
        out, err = process.stdout.read(), process.stderr.read()
        process.wait()
    finally:
        clock.cancel()
        end()
        process.communicate()
    assert process.returncode == 0, f"it hangs, or fails\n{out}{err}"
    assert err == ""
    return out


posix = pytest.mark.skipif(os.name != "posix", reason="signals and scripts of POSIX")
