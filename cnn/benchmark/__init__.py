"""How fast networks and operations are here, beside another way of computing the same.

A row (a network in a mode, or an operation) has sides: `ours`; `flax`, the same on stock `lax`
operations; `torch`. Each side lives in a process of its own (`worker`), so that its memory is its
own and neither compiles or allocates in the other's way; `measure` runs them in turns.
"""
