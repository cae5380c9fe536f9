"""`lab.workbench(model, example_inputs)`: the workbench of any model, also of one that does not convert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnapi_lab.errors import MissingDependency
from nnapi_lab.lab import LoweredModel, attempt
from nnapi_lab.torchscript.lower import LayoutChoice, QuantizeAt

if TYPE_CHECKING:
    from nnapi_lab.notebook.widget import Workbench


def workbench(
    model: Any,
    example_inputs: Any = None,
    *,
    api_level: int | None = None,
    feature_level: int | None = None,
    layout: LayoutChoice = "auto",
    relaxed: bool = False,
    quantize_at: QuantizeAt | None = None,
    name: str = "",
) -> Workbench:
    """The live workbench of `model` (nn.Module, ScriptModule, path of a .pt, or what `lab.lower` returned).

    The other arguments are those of `lab.lower`. A model that does not convert is shown as far as it does, with
    everything that stands in the way under "Problems". Raises CaptureError or FormatError for what is not a model,
    MissingDependency where the notebook libraries are not installed.
    """
    try:
        from nnapi_lab.notebook.progress import progress_bar
        from nnapi_lab.notebook.widget import Workbench
    except ImportError as error:
        raise MissingDependency(f"{error}; the workbench needs: pip install nnapi_lab[notebook]") from error
    if isinstance(model, LoweredModel):
        return Workbench(model)
    with progress_bar() as tell:
        attempted = attempt(
            model, example_inputs, api_level=api_level, feature_level=feature_level, layout=layout, relaxed=relaxed,
            quantize_at=quantize_at, name=name, progress=tell,
        )  # fmt: skip
    return Workbench(attempted)
