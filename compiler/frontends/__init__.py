"""Files and modules -> float graph: torch, ONNX, topology tables.

`frontend_torch` and `frontend_onnx` are the doors; both fill a `builder`, with one handler an
operator (`torch_ops`, `onnx_ops`). `topology` reads shapes only.
"""
