"""`device`: run a Python program with the simulated libneuralnetworks.so in place, as `python -m cProfile` would."""

from __future__ import annotations

import io
import os
import runpy
import sys
import types
from collections.abc import Callable
from typing import Any

import typer
import typer.core

from nnapi_lab.cli.outcome import BadInput

INTERRUPTED = 130

PROGRAM = typer.Argument(None, metavar="SCRIPT.py ARGS…", help="The program and its arguments.")
REFUSE = typer.Option(None, "--refuse", metavar="OP", help="The device refuses this operation; repeatable.")


class DeviceCommand(typer.core.TyperCommand):
    """Options end where the program begins: what follows SCRIPT.py or `-m MODULE` is the program's own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        takes_value = {name for option in self.params if _has_value(option) for name in option.opts}
        at = 0
        while at < len(args) and args[at].startswith("-") and args[at] != "--":
            if args[at] == "-m" or (args[at].startswith("-m") and not args[at].startswith("--")):
                at += 2 if args[at] == "-m" else 1
                break
            at += 2 if args[at] in takes_value else 1
        return super().parse_args(ctx, [*args[:at], "--", *args[at + (args[at : at + 1] == ["--"]) :]])


def _has_value(parameter: Any) -> bool:
    return parameter.param_type_name == "option" and not getattr(parameter, "is_flag", False)


def device(
    program: list[str] | None = PROGRAM,
    module: str | None = typer.Option(None, "-m", metavar="MODULE", help="Run a module instead of a file."),
    api_level: int | None = typer.Option(
        None, "--api-level", metavar="N", help="Stand in for Android of this level, 27 to 31."
    ),
    feature_level: int | None = typer.Option(
        None, "--feature-level", metavar="N", help="The same as NNAPI feature level, 1 to 8."
    ),
    refuse: list[str] | None = REFUSE,
    cpu_fallback: bool = typer.Option(False, "--cpu-fallback", help="A second device takes what the first refuses."),
    engine: str = typer.Option("fast", "--engine", metavar="E", help="fast or reference."),
) -> int:
    """Run a Python program in which PyTorch's NNAPI loader finds the simulator, LIBNEURALNETWORKS_PATH set.

    The program sees its own sys.argv and __main__; its exit code is this command's.
    """
    from nnapi_lab.device import install
    from nnapi_lab.simulate import ENGINES

    arguments = list(program or ())
    if module is None and not arguments:
        raise BadInput("device needs a program: SCRIPT.py ARGS…, or -m MODULE ARGS…")
    if engine not in ENGINES:
        raise BadInput(f"there is no engine {engine}; the engines are {', '.join(ENGINES)}")
    load = _module(module, arguments) if module is not None else _script(arguments)
    try:
        install(api_level, refuse or (), feature_level=feature_level, cpu_fallback=cpu_fallback, engine=engine)
    except ValueError as error:
        raise BadInput(str(error)) from error
    return _exit_code(load)


def _script(arguments: list[str]) -> Callable[[], object]:
    """The program in a file. Raises BadInput when it cannot be read."""
    path = arguments[0]
    if os.path.isdir(path) or path.endswith((".zip", ".pyz")):
        return _packed(path, arguments)
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    sys.argv[:] = arguments

    def run() -> None:
        # A module of its own, as the program expects it: classes pickled by it are found in __main__.
        main = types.ModuleType("__main__")
        vars(main).update(__file__=path, __builtins__=__builtins__, __cached__=None)
        sys.modules["__main__"] = main
        exec(compile(source, path, "exec", dont_inherit=True), vars(main))

    return run


def _packed(path: str, arguments: list[str]) -> Callable[[], object]:
    """A folder or archive with a `__main__.py`."""
    if not os.path.exists(path):
        raise BadInput(f"{path}: there is no such file")
    sys.argv[:] = arguments
    return lambda: runpy.run_path(path, run_name="__main__")


def _module(name: str, arguments: list[str]) -> Callable[[], object]:
    """The program in a module; `python -m` finds modules in the current folder."""
    here = os.getcwd()
    if not {"", here}.intersection(sys.path[:1]):
        sys.path.insert(0, here)
    sys.argv[:] = [name, *arguments]
    return lambda: runpy.run_module(name, run_name="__main__", alter_sys=True)


def _exit_code(run: Callable[[], object]) -> int:
    """Run the program to its end: its exit code, 1 after a traceback, 130 after Ctrl-C."""
    from nnapi_lab.device.door import behind

    try:
        run()
        return 0
    except SystemExit as end:
        return _code(end.code)
    except BaseException as error:  # noqa: BLE001  whatever ends the program is told as Python tells it
        cause = behind(error)
        trace = _own_frames(error)
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) or isinstance(cause, KeyboardInterrupt) else 1


def _code(given: object) -> int:
    """What `sys.exit(given)` means."""
    if given is None or isinstance(given, int):
        return int(given or 0)
    print(given, file=sys.stderr)
    return 1


def _own_frames(error: BaseException) -> types.TracebackType | None:
    """The traceback without the frames of this command and of runpy."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename in _OURS:
        trace = trace.tb_next
    return trace


_OURS = {__file__, runpy.__file__, "<frozen runpy>"}
