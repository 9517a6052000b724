"""References for benchmarks/speed.py: published recipes in plain PyTorch, written without care for speed.

Stock layers, contiguous float32, eager, default Adam, the published order of updates. Peer code may not be
copied here, so each file is guarded: its FLOPs per step and parameter counts must be those of the peer's own
code.
"""
