"""References for benchmarks/speed.py: published recipes in plain PyTorch, not optimised for speed.

Stock layers, contiguous float32, eager mode, default Adam, the published update order. The published code is not
copied here; instead each file is checked: its FLOPs per step and parameter counts must equal those of the
published code.
"""
