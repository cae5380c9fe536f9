"""The application: its commands, and how every outcome becomes an exit code.

0: done · 1: the model is refused or invalid, vectors fail · 2: bad input · 70: a defect of nnapi_lab.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

import typer

from nnapi_lab.cli import conformance, device, doctor, lowering, saved
from nnapi_lab.cli.outcome import DEBUG, DEFECT, report_error, say

# click's own class under its lasting name; typer has moved the module about.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="nnapi-lab",
    help="See, explain, run and measure how a PyTorch model becomes an Android NNAPI model.\n\n"
    "MODEL is a TorchScript file, or package.module:function where the function returns (module, example_inputs). "
    "FILE is a saved NNAPI model: .pt or .nn.",
    epilog=f"Exit code 0: done; 1: the model is refused or invalid; 2: bad input. {DEBUG}=1 shows tracebacks.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    lowering.lower, saved.show, lowering.diff, lowering.diagnose, saved.check, saved.run, saved.export,
    conformance.conformance, doctor.doctor,
):  # fmt: skip
    app.command()(command)
app.command(cls=device.DeviceCommand)(device.device)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from nnapi_lab import __version__

        typer.echo(f"nnapi_lab {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own by default); return the exit code and never raise."""
    try:
        code = app(args=arguments, prog_name="nnapi-lab", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except UsageError as error:
        return _usage(error)
    except (BrokenPipeError, SystemExit):
        # The reader has gone (`| head`), which typer turns into SystemExit: nobody is left to tell, also not at
        # the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        return 130
    except Exception as error:  # noqa: BLE001  the last line of defence: a defect is one sentence too
        return _outcome(error)


def _usage(error: Exception) -> int:
    """One sentence and where to read on; help itself when nothing was asked."""
    context = getattr(error, "ctx", None)
    text = getattr(error, "format_message", error.__str__)()
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(text)
        return 2
    path = context.command_path if context is not None else "nnapi-lab"
    say(f"{text.rstrip('.')}; `{path} --help` tells more")
    return 2


def _outcome(error: Exception) -> int:
    if os.environ.get(DEBUG, "") not in ("", "0"):
        traceback.print_exception(error)
    code = report_error(error)
    if code is not None:
        return code
    place = traceback.extract_tb(error.__traceback__)[-1]
    say(
        f"a defect of nnapi_lab: {type(error).__name__}: {error} "
        f"({os.path.basename(place.filename)}:{place.lineno}); {DEBUG}=1 shows where it came from"
    )
    return DEFECT
