"""The fast engine: whole epochs of LANES runs at a time in vector registers, compiled by numba.

`simd` is the vector type, `functions`, `activations` and `rules` are what it computes, one row a name,
`kernel` is an epoch of training, `engine` the stack that runs it. The torch stack stays the readable twin.
"""
