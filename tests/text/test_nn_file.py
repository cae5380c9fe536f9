""".nn files: text and data appear together, and damage in either is said."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nnapi_lab.errors import FormatError, OutputError
from nnapi_lab.ir.model import Model, Operand, Operation
from nnapi_lab.ir.operand_types import OperandCode, OperandType, PerChannel
from nnapi_lab.text import read_nn, write_nn

F32, Q8C = OperandCode.TENSOR_FLOAT32, OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL
PAIR = OperandType(F32, (2,))


def model(count: int) -> Model:
    """A model with a float constant, a boolean and a per-channel one of `count` elements each."""
    rng = np.random.default_rng(3)
    operands = [
        Operand("x", PAIR),
        Operand("y", PAIR),
        Operand("w", OperandType(F32, (count, 1)), rng.standard_normal((count, 1))),
        Operand("b", OperandType(OperandCode.TENSOR_BOOL8, (count,)), rng.integers(0, 2, count)),
        Operand("q", OperandType(Q8C, (count, 1), PerChannel(tuple(rng.random(count)), 0)),
                rng.integers(-127, 128, (count, 1))),
    ]  # fmt: skip
    return Model("m", {o.name: o for o in operands}, (Operation("RELU", ("x",), ("y",)),), ("x",), ("y",))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "m.nn"
    write_nn(model(500), path)
    return path


def test_large_constants_lie_beside_the_text(saved: Path) -> None:
    assert sorted(p.name for p in saved.parent.iterdir()) == ["m.nn", "m.nn.npz"]
    assert saved.stat().st_size < 1000
    assert read_nn(saved) == model(500)


def test_the_sidecar_opens_with_numpy(saved: Path) -> None:
    with np.load(f"{saved}.npz") as arrays:
        assert sorted(array.shape for array in arrays.values()) == [(500,), (500,), (500, 1), (500, 1)]


def test_small_models_are_one_file(tmp_path: Path) -> None:
    write_nn(model(3), tmp_path / "m.nn")
    assert [p.name for p in tmp_path.iterdir()] == ["m.nn"]
    assert read_nn(tmp_path / "m.nn") == model(3)


def test_writing_twice_gives_the_same_bytes(saved: Path) -> None:
    before = Path(f"{saved}.npz").read_bytes()
    write_nn(model(500), saved)
    assert Path(f"{saved}.npz").read_bytes() == before


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        write_nn(model(3), tmp_path / "gone" / "m.nn")


def test_a_missing_sidecar_is_said(saved: Path) -> None:
    Path(f"{saved}.npz").unlink()
    with pytest.raises(FormatError, match=r"m\.nn, line \d, column \d+: the data sha256:.* is missing"):
        read_nn(saved)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read"):
        read_nn(tmp_path / "gone.nn")


def test_bytes_that_are_no_text_are_said(tmp_path: Path) -> None:
    (tmp_path / "m.nn").write_bytes(b"model \xff")
    with pytest.raises(FormatError, match="not text in UTF-8"):
        read_nn(tmp_path / "m.nn")


def rewritten(saved: Path, change: dict[str, bytes]) -> None:
    """Put other members into the sidecar."""
    out = io.BytesIO()
    with zipfile.ZipFile(f"{saved}.npz") as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, change.get(info.filename, old.read(info)))
    Path(f"{saved}.npz").write_bytes(out.getvalue())


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def weights_member(saved: Path) -> str:
    line = next(line for line in saved.read_text().splitlines() if "%w" in line)
    return line.rpartition("sha256:")[2] + ".npy"


def npy_header(text: bytes) -> bytes:
    """The header of an .npy file, and nothing behind it."""
    return b"\x93NUMPY\x01\x00v\x00" + text.ljust(117) + b"\n"


HUGE = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }"
OBJECTS = b"{'descr': '|O', 'fortran_order': False, 'shape': (500,), }"
DAMAGE = {
    "other numbers": (npy(np.zeros((500, 1), np.float32)), "is damaged: its content hash"),
    "fewer numbers": (npy(np.zeros(3, np.float32)), "has 12 bytes, 2000 are declared"),
    "a bomb": (npy(np.zeros(10_000_000, np.float32)), "has 40000000 bytes, 2000 are declared"),
    "a header that lies": (npy_header(HUGE), "has not the size its header says"),
    "objects": (npy_header(OBJECTS), "objects"),
    "no array": (b"hello", "is damaged"),
    "code in the header": (npy_header(b"__import__('os').system('false')"), "is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_sidecar_is_said(name: str, saved: Path) -> None:
    data, says = DAMAGE[name]
    rewritten(saved, {weights_member(saved): data})
    with pytest.raises(FormatError, match=says):
        read_nn(saved)


def test_any_damage_to_the_sidecar_is_a_format_error(saved: Path) -> None:
    good = Path(f"{saved}.npz").read_bytes()
    rng = np.random.default_rng(11)
    refused = 0
    for _ in range(300):
        data = bytearray(good)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        Path(f"{saved}.npz").write_bytes(bytes(data[: rng.integers(0, len(data) + 1)] if rng.random() < 0.2 else data))
        try:
            assert read_nn(saved) == model(500)
        except FormatError:
            refused += 1
    assert refused > 200
