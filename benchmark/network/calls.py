"""What every ATen call of a captured graph is to a walk: nothing, a rearrangement, a pool, a product."""

from __future__ import annotations

from benchmark.network.captured import Linear, MatMul, Rearrange, Resize, Softmax
from benchmark.network.normalizations import Normalize
from benchmark.network.operations import (
    AveragePool,
    Concatenation,
    MaxPool,
    SmoothActivation,
    Wrapped,
)

ALIKE = frozenset(("zeros_like", "ones_like", "full_like", "empty_like"))
"""Calls that make numbers of a tensor's shape and type."""
SAME = frozenset((
    "alias", "clone", "contiguous", "lift_fresh_copy", "detach", "dropout", "feature_dropout", "type_as",
    "alpha_dropout", "_to_copy", "to",
))  # fmt: skip
"""Calls that give their first argument back, in evaluation mode and whatever the type."""
NO_VALUE = frozenset((
    *ALIKE, "new_zeros", "new_ones", "new_full", "new_empty", "eq", "ne", "lt", "gt", "le", "ge",
))  # fmt: skip
"""Calls that read a tensor's shape or order, through which no gradient goes."""
SHAPES_ALONE = frozenset((*ALIKE, "new_zeros", "new_ones", "new_full", "new_empty"))
"""Those of them whose values follow from the shape."""
SUMS = {"add": (1, 1), "sub": (1, -1), "rsub": (-1, 1)}
"""Signs of both terms; the second argument's is multiplied by ``alpha``, of ``rsub`` the first one's."""
_REARRANGE = frozenset((
    "view", "_unsafe_view", "reshape", "flatten", "unflatten", "permute", "transpose", "t", "expand",
    "select", "slice", "split", "split_with_sizes", "chunk", "unbind", "squeeze", "unsqueeze", "pad",
    "constant_pad_nd", "roll", "index", "flip", "repeat", "pixel_shuffle", "channel_shuffle",
    "pixel_unshuffle", "upsample_nearest2d", "_upsample_nearest_exact2d", "index_select", "masked_fill",
    "native_channel_shuffle", "movedim", "tile", "slice_scatter", "select_scatter", "narrow", "unfold",
    "im2col", "as_strided", "fliplr", "flipud", "rot90", "gather", "index_put", "scatter", "tril",
    "triu", "diagonal",
))  # fmt: skip
AT_CONSTANTS = frozenset(("grid_sampler", "grid_sampler_2d", "index_add", "scatter_add"))
"""Linear in their first argument where the others are constants."""
OF_ONE = frozenset(("addmm", "baddbmm", "addbmm", "addmv", "tensordot", "cumsum"))
"""Linear in one argument where the others are constants."""
_RESIZE = ("upsample_bilinear2d", "_upsample_bilinear2d_aa", "upsample_bicubic2d", "_upsample_bicubic2d_aa")
KINDS: dict[str, type[Wrapped]] = {
    **dict.fromkeys(_REARRANGE, Rearrange),
    **dict.fromkeys(_RESIZE, Resize),
    **dict.fromkeys(("mean", "avg_pool2d", "adaptive_avg_pool2d", "avg_pool1d", "sum"), AveragePool),
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices", "adaptive_max_pool2d", "amax"), MaxPool),
    **dict.fromkeys(("cat", "stack", "concat"), Concatenation),
    **dict.fromkeys(
        ("gelu", "silu", "sigmoid", "tanh", "elu", "celu", "selu", "softplus", "mish", "log_sigmoid"),
        SmoothActivation,
    ),
    **dict.fromkeys(("layer_norm", "group_norm", "rms_norm", "instance_norm"), Normalize),
    "col2im": Linear,
    **dict.fromkeys(("softmax", "_softmax"), Softmax),
    **dict.fromkeys(("matmul", "bmm", "einsum", "mm"), MatMul),
}
