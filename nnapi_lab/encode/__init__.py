"""Bytes both ways: PyTorch's NNAPI format and the files around it."""

from nnapi_lab.encode.archive import read_torch
from nnapi_lab.encode.from_words import decode
from nnapi_lab.encode.load import load
from nnapi_lab.encode.save import save_torch, torch_module
from nnapi_lab.encode.torch_nnapi import encode
from nnapi_lab.encode.words import EncodedModel, Names

__all__ = ["EncodedModel", "Names", "decode", "encode", "load", "read_torch", "save_torch", "torch_module"]
