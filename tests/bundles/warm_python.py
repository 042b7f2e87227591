"""A python that has done its imports, and forks a process for each `python -m monai.bundle` it is asked for.

Importing takes longer than most commands of the bundle tests. One line of JSON on the standard input is a
request: "arguments" of the command line, "cwd", the files "stdout" and "stderr", and "seconds" until the process
is killed. One line of output is its exit status, as `subprocess` gives it.
"""

import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import sys


def import_everything() -> None:
    """Imports only: an OpenMP region that ran before the fork would leave the forked processes hanging."""
    import crossem

    for module in pkgutil.walk_packages(crossem.__path__, "crossem."):
        importlib.import_module(module.name)
    for name in ("fire", "ignite.handlers.tqdm_logger", "monai.bundle.scripts", "torch.utils.tensorboard"):
        importlib.import_module(name)


def serve() -> None:
    """Answer requests until the input ends. Returns in the forked processes only, one a request."""
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            become(**json.loads(line))
            return
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


def become(arguments: list[str], cwd: str, stdout: str, stderr: str, seconds: int) -> None:
    """Make this process what `python -m` in `cwd` would be; `run_module` sets the first argument."""
    signal.alarm(seconds)
    for number, path in enumerate((os.devnull, stdout, stderr)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.argv[1:] = arguments


if __name__ == "__main__":
    import_everything()
    gc.freeze()  # collecting all that was imported would take each forked process a second when it ends
    serve()
    # not inside a handler of any kind: the interpreter's own excepthook and exit status are part of what is tested
    runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
