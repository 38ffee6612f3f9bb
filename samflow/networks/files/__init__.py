"""Tensors from files of every common format, without running anything that is in them."""

from samflow.networks.files.tensors import TensorFile, read_leaves, read_tensors

__all__ = ["TensorFile", "read_leaves", "read_tensors"]
