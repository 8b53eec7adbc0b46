"""
nonet's compiled core: arrays and the kernels on them. Private; use the package nonet.
"""

from __future__ import annotations

import collections.abc
import typing

import numpy
import typing_extensions

__all__: list[str] = [
    "Array",
    "BufferBase",
    "Generator",
    "OptimGroup",
    "Recurrent",
    "RecurrentStream",
    "RecurrentTape",
    "abs",
    "abs_backward",
    "adaptive_avg_pool_backward",
    "adaptive_avg_pool_forward",
    "adaptive_max_pool_backward",
    "adaptive_max_pool_forward",
    "add",
    "add_into",
    "alike",
    "attention_backward",
    "attention_forward",
    "attention_store",
    "avg_pool_backward",
    "avg_pool_forward",
    "bag_backward",
    "bag_forward",
    "bag_max_backward",
    "bag_scales_backward",
    "bernoulli",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "box_overlap",
    "box_overlap_backward",
    "box_overlap_matrix",
    "box_overlap_matrix_backward",
    "cache_budget",
    "cache_bytes",
    "cat",
    "ceil",
    "channel_norm_backward",
    "channel_norm_forward",
    "channel_shuffle",
    "check_device",
    "clamp",
    "clamp_backward",
    "clamp_values",
    "class_loss_backward",
    "conv_backward",
    "conv_forward",
    "conv_transpose_backward",
    "conv_transpose_forward",
    "cos",
    "cos_backward",
    "count_nonzero",
    "cross_entropy_forward",
    "ctc_beam_decode",
    "ctc_greedy_decode",
    "ctc_loss_backward",
    "ctc_loss_forward",
    "cumprod",
    "cumprod_backward",
    "cumsum",
    "detected_isa",
    "device_info",
    "diagonal",
    "diagonal_backward",
    "div",
    "div_divisor_backward",
    "drop_packed_weights",
    "dropout_backward",
    "dropout_forward",
    "dtype_name",
    "elu",
    "elu_backward",
    "embedding_add_gradient",
    "embedding_backward",
    "embedding_forward",
    "embedding_renorm",
    "empty_cache",
    "emulated",
    "eq",
    "erf",
    "erf_backward",
    "exp",
    "exp_backward",
    "expand",
    "expm1",
    "expm1_backward",
    "extreme_along",
    "extreme_backward",
    "flip",
    "floor",
    "floor_divide",
    "fold",
    "from_dlpack",
    "from_numpy",
    "full",
    "gather",
    "ge",
    "gelu",
    "gelu_backward",
    "gelu_tanh",
    "gelu_tanh_backward",
    "getitem",
    "getitem_backward",
    "glu",
    "glu_backward",
    "gt",
    "hardshrink",
    "hardshrink_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "hardswish",
    "hardswish_backward",
    "hardtanh",
    "hardtanh_backward",
    "index_add",
    "index_backward",
    "index_forward",
    "integers_into",
    "isa",
    "isfinite",
    "isinf",
    "isnan",
    "layer_norm_backward",
    "layer_norm_forward",
    "le",
    "leaky_relu",
    "leaky_relu_backward",
    "linear_activation_forward",
    "linear_backward",
    "linear_cross_entropy_backward",
    "linear_cross_entropy_forward",
    "linear_forward",
    "log",
    "log1p",
    "log1p_backward",
    "log2",
    "log2_backward",
    "log_backward",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsigmoid",
    "logsigmoid_backward",
    "logsumexp_backward",
    "lt",
    "matmul_accumulate",
    "matmul_backward",
    "matmul_forward",
    "matmul_row_statistics",
    "max_pool_backward",
    "max_pool_forward",
    "max_unpool_backward",
    "max_unpool_forward",
    "maximum",
    "maximum_backward",
    "memory_stats",
    "minimum",
    "minimum_backward",
    "mish",
    "mish_backward",
    "mul",
    "multi_margin_forward",
    "multilabel_margin_forward",
    "narrow",
    "narrow_backward",
    "ne",
    "neg",
    "neg_backward",
    "nll_loss_backward",
    "nll_loss_forward",
    "nms",
    "nonzero",
    "norm_backward",
    "normal_into",
    "num_threads",
    "one_hot",
    "pad_backward",
    "pad_forward",
    "pair_loss_backward",
    "pair_loss_forward",
    "peak_amx",
    "peak_copy",
    "peak_dot",
    "peak_fma",
    "peak_read",
    "permutation_into",
    "permute",
    "philox",
    "pixel_shuffle",
    "pixel_unshuffle",
    "place_along",
    "pooled_conv_backward",
    "pooled_conv_forward",
    "pow",
    "pow_base_backward",
    "pow_exponent_backward",
    "prelu",
    "prelu_backward",
    "prelu_weight_backward",
    "prod_backward",
    "reciprocal",
    "reciprocal_backward",
    "recurrent_backward",
    "recurrent_cell_forward",
    "recurrent_forward",
    "recurrent_packed_forward",
    "reduce_extreme",
    "reduce_logsumexp",
    "reduce_mean",
    "reduce_norm",
    "reduce_prod",
    "reduce_sum",
    "reduce_truth",
    "reduce_var",
    "register_backend",
    "relu",
    "relu_backward",
    "remainder",
    "repeat",
    "reset_peak_memory",
    "reshape",
    "resize_backward",
    "resize_forward",
    "response_norm_backward",
    "response_norm_forward",
    "roll",
    "rotary",
    "round",
    "rsqrt",
    "rsqrt_backward",
    "scale_to_norm",
    "scatter",
    "set_cache_budget",
    "set_isa",
    "set_num_threads",
    "set_tier",
    "sigmoid",
    "sigmoid_backward",
    "sign",
    "silu",
    "silu_backward",
    "sin",
    "sin_backward",
    "softmax_backward",
    "softmax_forward",
    "softplus",
    "softplus_backward",
    "softshrink",
    "softshrink_backward",
    "softsign",
    "softsign_backward",
    "sort",
    "split",
    "split_backward",
    "sqrt",
    "sqrt_backward",
    "square",
    "square_backward",
    "stream",
    "sub",
    "sum_backward",
    "sum_to",
    "synchronize",
    "tanh",
    "tanh_backward",
    "tanhshrink",
    "tanhshrink_backward",
    "threshold",
    "threshold_backward",
    "tier",
    "topk",
    "total_norm",
    "triangle",
    "trunc",
    "unfold",
    "uniform_into",
    "unit_gradient",
    "unshared",
    "var_backward",
    "where",
    "why_unavailable",
    "zeros",
]

class Array:
    """
    Contiguous memory with a shape, a dtype and a device.
    """
    def __init__(
        self,
        shape: collections.abc.Sequence[typing.SupportsInt],
        dtype: str | type | numpy.dtype[typing.Any] = "float32",
        device: str = "cpu",
    ) -> None:
        """
        Uninitialised.
        """
    def clone(self) -> Array: ...
    def close_writer(self) -> None: ...
    def copy_from(self, source: Array | None) -> None: ...
    def dlpack(self, versioned: bool) -> typing_extensions.CapsuleType: ...
    def dlpack_device(self) -> tuple[int, int]: ...
    def fill(self, value: typing.SupportsFloat | typing.SupportsIndex) -> None: ...
    def guard(self) -> None:
        """
        Makes exports of this memory read-only.
        """
    def item(self) -> typing.Any: ...
    def numpy(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]: ...
    def open_writer(self) -> numpy.ndarray[typing.Any, numpy.dtype[typing.Any]]:
        """
        A writable export of guarded memory, from which nothing is cached until close_writer().
        """
    def reshape(self, shape: collections.abc.Sequence[typing.SupportsInt]) -> Array: ...
    def shares_memory(self, arg0: Array | None) -> bool: ...
    def to(self, dtype: str | type | numpy.dtype[typing.Any]) -> Array: ...
    def to_device(self, device: str) -> Array: ...
    def to_format(self, format: str) -> Array: ...
    @property
    def cacheable(self) -> bool: ...
    @property
    def device(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def format(self) -> str: ...
    @property
    def guarded(self) -> bool: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def numel(self) -> int: ...
    @property
    def pointer(self) -> int: ...
    @property
    def rank(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def version(self) -> int: ...

class Generator:
    """
    Counter-based random generator (Philox4x32-10).
    """
    def __init__(self, seed: typing.SupportsInt | typing.SupportsIndex = 0) -> None: ...
    def set(
        self,
        seed: typing.SupportsInt | typing.SupportsIndex,
        offset: typing.SupportsInt | typing.SupportsIndex = 0,
    ) -> None: ...
    @property
    def state(self) -> Array:
        """
        int64 [2] = seed, offset
        """

class BufferBase:
    """
    Exports the buffer of its attribute `array`.
    """

class OptimGroup:
    """
    The parameters of one optimizer group as flat runs of memory.
    """
    def __init__(
        self, params: collections.abc.Sequence[typing.Any], movable: collections.abc.Sequence[bool]
    ) -> None: ...
    def adadelta(
        self,
        lr: typing.SupportsFloat | typing.SupportsIndex,
        rho: typing.SupportsFloat | typing.SupportsIndex,
        eps: typing.SupportsFloat | typing.SupportsIndex,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex,
        maximize: bool,
    ) -> None: ...
    def adagrad(
        self,
        lr: typing.SupportsFloat | typing.SupportsIndex,
        lr_decay: typing.SupportsFloat | typing.SupportsIndex,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex,
        eps: typing.SupportsFloat | typing.SupportsIndex,
        maximize: bool,
    ) -> None: ...
    def adam(
        self,
        lr: typing.SupportsFloat | typing.SupportsIndex,
        beta1: typing.SupportsFloat | typing.SupportsIndex,
        beta2: typing.SupportsFloat | typing.SupportsIndex,
        eps: typing.SupportsFloat | typing.SupportsIndex,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex,
        amsgrad: bool,
        maximize: bool,
        decoupled: bool,
    ) -> None: ...
    def adamax(
        self,
        lr: typing.SupportsFloat | typing.SupportsIndex,
        beta1: typing.SupportsFloat | typing.SupportsIndex,
        beta2: typing.SupportsFloat | typing.SupportsIndex,
        eps: typing.SupportsFloat | typing.SupportsIndex,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex,
        maximize: bool,
    ) -> None: ...
    def make_state(
        self,
        k: typing.SupportsInt | typing.SupportsIndex,
        value: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    ) -> None: ...
    def nadam(
        self,
        lr: typing.SupportsFloat | typing.SupportsIndex,
        beta1: typing.SupportsFloat | typing.SupportsIndex,
        beta2: typing.SupportsFloat | typing.SupportsIndex,
        eps: typing.SupportsFloat | typing.SupportsIndex,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex,
        momentum_decay: typing.SupportsFloat | typing.SupportsIndex,
        decoupled: bool,
        maximize: bool,
    ) -> None: ...
    def param(self, index: typing.SupportsInt | typing.SupportsIndex) -> Array: ...
    def product(self, index: typing.SupportsInt | typing.SupportsIndex) -> float: ...
    def radam(
        self,
        lr: typing.SupportsFloat | typing.SupportsIndex,
        beta1: typing.SupportsFloat | typing.SupportsIndex,
        beta2: typing.SupportsFloat | typing.SupportsIndex,
        eps: typing.SupportsFloat | typing.SupportsIndex,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex,
        decoupled: bool,
        maximize: bool,
    ) -> None: ...
    def rmsprop(
        self,
        lr: typing.SupportsFloat | typing.SupportsIndex,
        alpha: typing.SupportsFloat | typing.SupportsIndex,
        eps: typing.SupportsFloat | typing.SupportsIndex,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex,
        momentum: typing.SupportsFloat | typing.SupportsIndex,
        centered: bool,
        maximize: bool,
    ) -> None: ...
    def set_progress(
        self,
        index: typing.SupportsInt | typing.SupportsIndex,
        steps: typing.SupportsInt | typing.SupportsIndex,
        product: typing.SupportsFloat | typing.SupportsIndex,
    ) -> None: ...
    def sgd(
        self,
        lr: typing.SupportsFloat | typing.SupportsIndex,
        momentum: typing.SupportsFloat | typing.SupportsIndex,
        dampening: typing.SupportsFloat | typing.SupportsIndex,
        weight_decay: typing.SupportsFloat | typing.SupportsIndex,
        nesterov: bool,
        maximize: bool,
    ) -> None: ...
    def slot(self, index: typing.SupportsInt | typing.SupportsIndex) -> Array: ...
    def state(
        self, k: typing.SupportsInt | typing.SupportsIndex, index: typing.SupportsInt | typing.SupportsIndex
    ) -> Array: ...
    def steps(self, index: typing.SupportsInt | typing.SupportsIndex) -> int: ...
    @property
    def device(self) -> str: ...

class Recurrent:
    """
    A recurrent layer without its weights.
    """
    def __init__(
        self,
        cell: typing.SupportsInt | typing.SupportsIndex,
        layers: typing.SupportsInt | typing.SupportsIndex,
        bidirectional: bool,
        bias: bool,
        projected: bool,
        batch_first: bool,
        dropout: typing.SupportsFloat | typing.SupportsIndex,
        single: bool,
    ) -> None:
        """
        single: for one step
        """

class RecurrentTape:
    """
    What the backward pass wants.
    """

class RecurrentStream:
    """
    A recurrent layer that is fed step by step.
    """
    def __init__(
        self,
        layer: Recurrent,
        x: Array | None,
        h0: Array | None,
        c0: Array | None,
        weights: collections.abc.Sequence[Array],
        precision: typing.SupportsInt | typing.SupportsIndex,
    ) -> None: ...
    def step(self, x: Array | None, weights: collections.abc.Sequence[Array]) -> Array: ...
    @property
    def c(self) -> Array: ...
    @property
    def h(self) -> Array: ...

def abs(x: Array | None) -> Array: ...
def abs_backward(dy: Array | None, saved: Array | None) -> Array: ...
def adaptive_avg_pool_backward(
    dy: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    out: collections.abc.Sequence[typing.SupportsInt],
    op: str,
) -> Array: ...
def adaptive_avg_pool_forward(
    x: Array | None, out: collections.abc.Sequence[typing.SupportsInt], op: str
) -> Array: ...
def adaptive_max_pool_backward(
    dy: Array | None,
    index: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    out: collections.abc.Sequence[typing.SupportsInt],
    op: str,
) -> Array: ...
def adaptive_max_pool_forward(
    x: Array | None, out: collections.abc.Sequence[typing.SupportsInt], keep_index: bool, op: str
) -> tuple[Array, Array | None]: ...
def add(x: Array | float | None, z: Array | float | None) -> Array: ...
def add_into(x: Array | None, z: Array | None) -> None:
    """
    x += z in place
    """

def alike(x: Array | float | None, z: Array | float | None) -> bool: ...
def attention_backward(
    q: Array | None,
    k: Array | None,
    v: Array | None,
    bias: Array | None,
    mask: Array | None,
    views: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(16)"
    ],
    sizes: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(7)"
    ],
    scale: typing.SupportsFloat | typing.SupportsIndex,
    shift: typing.SupportsInt | typing.SupportsIndex | None,
    dropout: typing.SupportsFloat | typing.SupportsIndex,
    seed: typing.SupportsInt | typing.SupportsIndex,
    offset: typing.SupportsInt | typing.SupportsIndex,
    out: Array | None,
    lse: Array | None,
    dout: Array | None,
    dq: Array | None,
    dk: Array | None,
    dv: Array | None,
    wants_bias: bool,
    precision: typing.SupportsInt | typing.SupportsIndex,
) -> Array: ...
def attention_forward(
    q: Array | None,
    k: Array | None,
    v: Array | None,
    bias: Array | None,
    mask: Array | None,
    views: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(16)"
    ],
    sizes: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(7)"
    ],
    shape: collections.abc.Sequence[typing.SupportsInt],
    scale: typing.SupportsFloat | typing.SupportsIndex,
    shift: typing.SupportsInt | typing.SupportsIndex | None,
    dropout: typing.SupportsFloat | typing.SupportsIndex,
    generator: Generator,
    precision: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[Array, Array, int, int]:
    """
    (out, lse, seed, offset); shift: None unless causal
    """

def attention_store(
    x: Array | None,
    view: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"
    ],
    rows: typing.SupportsInt | typing.SupportsIndex,
    cache: Array | None,
    position: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def avg_pool_backward(
    dy: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    kernel: collections.abc.Sequence[typing.SupportsInt],
    stride: collections.abc.Sequence[typing.SupportsInt],
    padding: collections.abc.Sequence[typing.SupportsInt],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: typing.SupportsInt | typing.SupportsIndex,
    op: str,
) -> Array: ...
def avg_pool_forward(
    x: Array | None,
    kernel: collections.abc.Sequence[typing.SupportsInt],
    stride: collections.abc.Sequence[typing.SupportsInt],
    padding: collections.abc.Sequence[typing.SupportsInt],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor: typing.SupportsInt | typing.SupportsIndex,
    op: str,
) -> Array: ...
def bag_backward(
    dy: Array | None,
    rows: Array | None,
    bags: Array | None,
    scales: Array | None,
    v: typing.SupportsInt | typing.SupportsIndex,
    scale_by_freq: bool,
    out: Array | None | None,
) -> Array: ...
def bag_forward(
    weight: Array | None,
    index: Array | None,
    offsets: Array | None,
    mode: str,
    scales: Array | None,
    include_last: bool,
    padding: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[Array, Array, Array, Array | None, Array | None]: ...
def bag_max_backward(
    dy: Array | None, arg: Array | None, v: typing.SupportsInt | typing.SupportsIndex
) -> Array: ...
def bag_scales_backward(
    dy: Array | None, weight: Array | None, rows: Array | None, bags: Array | None
) -> Array: ...
def bernoulli(p: Array | None, generator: Generator) -> Array: ...
def bitwise_and(x: Array | float | None, z: Array | float | None) -> Array: ...
def bitwise_not(x: Array | None) -> Array: ...
def bitwise_or(x: Array | float | None, z: Array | float | None) -> Array: ...
def bitwise_xor(x: Array | float | None, z: Array | float | None) -> Array: ...
def box_overlap(
    a: Array | None,
    b: Array | None,
    kind: typing.SupportsInt | typing.SupportsIndex,
    e: typing.SupportsFloat | typing.SupportsIndex,
) -> Array: ...
def box_overlap_backward(
    dy: Array | None,
    a: Array | None,
    b: Array | None,
    kind: typing.SupportsInt | typing.SupportsIndex,
    e: typing.SupportsFloat | typing.SupportsIndex,
    need_a: bool,
    need_b: bool,
) -> tuple: ...
def box_overlap_matrix(
    a: Array | None,
    b: Array | None,
    kind: typing.SupportsInt | typing.SupportsIndex,
    e: typing.SupportsFloat | typing.SupportsIndex,
) -> Array: ...
def box_overlap_matrix_backward(
    dy: Array | None,
    a: Array | None,
    b: Array | None,
    kind: typing.SupportsInt | typing.SupportsIndex,
    e: typing.SupportsFloat | typing.SupportsIndex,
    need_a: bool,
    need_b: bool,
) -> tuple: ...
def cache_budget() -> int: ...
def cache_bytes() -> int: ...
def cat(xs: collections.abc.Sequence[Array], axis: typing.SupportsInt | typing.SupportsIndex) -> Array: ...
def ceil(x: Array | None) -> Array: ...
def channel_norm_backward(
    dy: Array | None,
    x: Array | None,
    weight: Array | None,
    bias: Array | None,
    y: Array | None,
    mean: Array | None,
    rstd: Array | None,
    groups: typing.SupportsInt | typing.SupportsIndex,
    eps: typing.SupportsFloat | typing.SupportsIndex,
    given: bool,
    relu: bool,
    op: str,
    want_x: bool,
    want_residual: bool,
    want_weight: bool,
    want_bias: bool,
) -> tuple[typing.Any, typing.Any, typing.Any, typing.Any]:
    """
    (dx, dresidual, dweight, dbias) or None
    """

def channel_norm_forward(
    x: Array | None,
    residual: Array | None,
    weight: Array | None,
    bias: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    momentum: typing.SupportsFloat | typing.SupportsIndex,
    groups: typing.SupportsInt | typing.SupportsIndex,
    eps: typing.SupportsFloat | typing.SupportsIndex,
    given: bool,
    relu: bool,
    op: str,
) -> tuple[Array, Array, Array]:
    """
    (y, mean, rstd)
    """

def channel_shuffle(x: Array | None, groups: typing.SupportsInt | typing.SupportsIndex) -> Array: ...
def check_device(device: str) -> None:
    """
    An error unless the device is there.
    """

def clamp(
    x: Array | None,
    min: typing.SupportsFloat | typing.SupportsIndex,
    max: typing.SupportsFloat | typing.SupportsIndex,
) -> Array: ...
def clamp_backward(
    dy: Array | None,
    x: Array | None,
    min: typing.SupportsFloat | typing.SupportsIndex,
    max: typing.SupportsFloat | typing.SupportsIndex,
) -> Array: ...
def clamp_values(
    arrays: collections.abc.Sequence[Array], bound: typing.SupportsFloat | typing.SupportsIndex
) -> None: ...
def class_loss_backward(dy: Array | None, d: Array | None) -> Array: ...
def conv_backward(
    dy: Array | None,
    x: Array | None,
    weight: Array | None,
    y: Array | None,
    stride: collections.abc.Sequence[typing.SupportsInt],
    padding: collections.abc.Sequence[typing.SupportsInt],
    dilation: collections.abc.Sequence[typing.SupportsInt],
    groups: typing.SupportsInt | typing.SupportsIndex,
    activation: typing.SupportsInt | typing.SupportsIndex,
    code: typing.SupportsInt | typing.SupportsIndex,
    op: str,
    needs: list,
) -> tuple: ...
def conv_forward(
    x: Array | None,
    weight: Array | None,
    bias: Array | None,
    stride: collections.abc.Sequence[typing.SupportsInt],
    padding: collections.abc.Sequence[typing.SupportsInt],
    dilation: collections.abc.Sequence[typing.SupportsInt],
    groups: typing.SupportsInt | typing.SupportsIndex,
    activation: typing.SupportsInt | typing.SupportsIndex,
    code: typing.SupportsInt | typing.SupportsIndex,
    op: str,
    keep: bool,
) -> Array: ...
def conv_transpose_backward(
    dy: Array | None,
    x: Array | None,
    weight: Array | None,
    y: Array | None,
    stride: collections.abc.Sequence[typing.SupportsInt],
    padding: collections.abc.Sequence[typing.SupportsInt],
    output_padding: collections.abc.Sequence[typing.SupportsInt],
    dilation: collections.abc.Sequence[typing.SupportsInt],
    groups: typing.SupportsInt | typing.SupportsIndex,
    activation: typing.SupportsInt | typing.SupportsIndex,
    code: typing.SupportsInt | typing.SupportsIndex,
    op: str,
    needs: list,
) -> tuple: ...
def conv_transpose_forward(
    x: Array | None,
    weight: Array | None,
    bias: Array | None,
    stride: collections.abc.Sequence[typing.SupportsInt],
    padding: collections.abc.Sequence[typing.SupportsInt],
    output_padding: collections.abc.Sequence[typing.SupportsInt],
    dilation: collections.abc.Sequence[typing.SupportsInt],
    groups: typing.SupportsInt | typing.SupportsIndex,
    activation: typing.SupportsInt | typing.SupportsIndex,
    code: typing.SupportsInt | typing.SupportsIndex,
    op: str,
    keep: bool,
) -> Array: ...
def cos(x: Array | None) -> Array: ...
def cos_backward(dy: Array | None, saved: Array | None) -> Array: ...
def count_nonzero(
    x: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
    keepdim: bool,
) -> Array: ...
def cross_entropy_forward(
    x: Array | None,
    target: Array | None,
    weight: Array | None,
    ignore: typing.SupportsInt | typing.SupportsIndex,
    smoothing: typing.SupportsFloat | typing.SupportsIndex,
    reduction: str,
    want_dx: bool,
    want_dtarget: bool,
) -> tuple[Array, Array | None, Array | None]: ...
def ctc_beam_decode(
    log_probs: Array | None,
    lengths: Array | None,
    blank: typing.SupportsInt | typing.SupportsIndex,
    beam: typing.SupportsInt | typing.SupportsIndex,
    top: typing.SupportsInt | typing.SupportsIndex,
) -> list[list[tuple[list[int], float]]]: ...
def ctc_greedy_decode(
    log_probs: Array | None, lengths: Array | None, blank: typing.SupportsInt | typing.SupportsIndex
) -> list[tuple[list[int], float]]: ...
def ctc_loss_backward(dy: Array | None, d: Array | None) -> Array: ...
def ctc_loss_forward(
    log_probs: Array | None,
    targets: Array | None,
    input_lengths: Array | None,
    target_lengths: Array | None,
    blank: typing.SupportsInt | typing.SupportsIndex,
    reduction: str,
    zero_infinity: bool,
    want_dx: bool,
) -> tuple[Array, Array | None]: ...
def cumprod(x: Array | None, axis: typing.SupportsInt | typing.SupportsIndex) -> Array: ...
def cumprod_backward(
    dy: Array | None, x: Array | None, axis: typing.SupportsInt | typing.SupportsIndex
) -> Array: ...
def cumsum(x: Array | None, axis: typing.SupportsInt | typing.SupportsIndex, reverse: bool) -> Array: ...
def detected_isa() -> str: ...
def device_info(device: str) -> dict: ...
def diagonal(
    x: Array | None,
    k: typing.SupportsInt | typing.SupportsIndex,
    axis1: typing.SupportsInt | typing.SupportsIndex,
    axis2: typing.SupportsInt | typing.SupportsIndex,
) -> Array: ...
def diagonal_backward(
    dy: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    k: typing.SupportsInt | typing.SupportsIndex,
    axis1: typing.SupportsInt | typing.SupportsIndex,
    axis2: typing.SupportsInt | typing.SupportsIndex,
) -> Array: ...
def div(x: Array | float | None, z: Array | float | None) -> Array: ...
def div_divisor_backward(dy: Array | None, x: Array | float | None, z: Array | float | None) -> Array: ...
def drop_packed_weights() -> None: ...
def dropout_backward(
    dy: Array | None,
    seed: typing.SupportsInt | typing.SupportsIndex,
    offset: typing.SupportsInt | typing.SupportsIndex,
    p: typing.SupportsFloat | typing.SupportsIndex,
    a: typing.SupportsFloat | typing.SupportsIndex,
    units: typing.SupportsInt | typing.SupportsIndex,
    nhwc: bool,
) -> Array: ...
def dropout_forward(
    x: Array | None,
    generator: Generator,
    p: typing.SupportsFloat | typing.SupportsIndex,
    a: typing.SupportsFloat | typing.SupportsIndex,
    b: typing.SupportsFloat | typing.SupportsIndex,
    c: typing.SupportsFloat | typing.SupportsIndex,
    units: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[Array, int, int]:
    """
    (y, seed, offset)
    """

def dtype_name(dtype: str | type | numpy.dtype[typing.Any]) -> str:
    """
    of whatever is accepted as a dtype
    """

def elu(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def elu_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def embedding_add_gradient(
    table: Array | None,
    dy: Array | None,
    rows: Array | None,
    padding: typing.SupportsInt | typing.SupportsIndex,
    scale_by_freq: bool,
) -> None: ...
def embedding_backward(
    dy: Array | None,
    rows: Array | None,
    v: typing.SupportsInt | typing.SupportsIndex,
    padding: typing.SupportsInt | typing.SupportsIndex,
    scale_by_freq: bool,
    out: Array | None,
) -> Array: ...
def embedding_forward(weight: Array | None, index: Array | None) -> tuple[Array, Array]: ...
def embedding_renorm(
    weight: Array | None,
    index: Array | None,
    max_norm: typing.SupportsFloat | typing.SupportsIndex,
    p: typing.SupportsFloat | typing.SupportsIndex,
) -> None: ...
def empty_cache(device: str = "cpu") -> None: ...
def emulated() -> bool:
    """
    whether avx512 and above are emulated
    """

def eq(x: Array | float | None, z: Array | float | None) -> Array: ...
def erf(x: Array | None) -> Array: ...
def erf_backward(dy: Array | None, saved: Array | None) -> Array: ...
def exp(x: Array | None) -> Array: ...
def exp_backward(dy: Array | None, saved: Array | None) -> Array: ...
def expand(x: Array | None, shape: collections.abc.Sequence[typing.SupportsInt]) -> Array: ...
def expm1(x: Array | None) -> Array: ...
def expm1_backward(dy: Array | None, saved: Array | None) -> Array: ...
def extreme_along(
    x: Array | None, axis: typing.SupportsInt | typing.SupportsIndex, keepdim: bool, largest: bool
) -> tuple[Array, Array]: ...
def extreme_backward(
    dy: Array | None,
    x: Array | None,
    y: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
) -> Array: ...
def flip(x: Array | None, dims: collections.abc.Sequence[typing.SupportsInt]) -> Array: ...
def floor(x: Array | None) -> Array: ...
def floor_divide(x: Array | float | None, z: Array | float | None) -> Array: ...
def fold(
    y: Array | None,
    size: collections.abc.Sequence[typing.SupportsInt],
    kernel: collections.abc.Sequence[typing.SupportsInt],
    dilation: collections.abc.Sequence[typing.SupportsInt],
    padding: collections.abc.Sequence[typing.SupportsInt],
    stride: collections.abc.Sequence[typing.SupportsInt],
) -> Array: ...
def from_dlpack(capsule: typing_extensions.CapsuleType) -> Array: ...
def from_numpy(
    source: numpy.ndarray[typing.Any, numpy.dtype[typing.Any]],
    dtype: str | type | numpy.dtype[typing.Any],
    copy: bool,
    device: str = "cpu",
) -> Array: ...
def full(
    shape: collections.abc.Sequence[typing.SupportsInt],
    value: typing.SupportsFloat | typing.SupportsIndex,
    dtype: str | type | numpy.dtype[typing.Any] = "float32",
    device: str = "cpu",
) -> Array: ...
def gather(
    x: Array | None, axis: typing.SupportsInt | typing.SupportsIndex, index: Array | None
) -> Array: ...
def ge(x: Array | float | None, z: Array | float | None) -> Array: ...
def gelu(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def gelu_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def gelu_tanh(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def gelu_tanh_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def getitem(x: Array | None, index: typing.Any) -> Array: ...
def getitem_backward(
    dy: Array | None, shape: collections.abc.Sequence[typing.SupportsInt], index: typing.Any
) -> Array: ...
def glu(x: Array | None, axis: typing.SupportsInt | typing.SupportsIndex) -> Array: ...
def glu_backward(
    dy: Array | None, x: Array | None, axis: typing.SupportsInt | typing.SupportsIndex
) -> Array: ...
def gt(x: Array | float | None, z: Array | float | None) -> Array: ...
def hardshrink(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def hardshrink_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def hardsigmoid(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def hardsigmoid_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def hardswish(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def hardswish_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def hardtanh(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def hardtanh_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def index_add(
    x: Array | None,
    axis: typing.SupportsInt | typing.SupportsIndex,
    index: Array | None,
    source: Array | None,
    scale: typing.SupportsFloat | typing.SupportsIndex,
) -> Array: ...
def index_backward(
    dy: Array | None,
    places: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    indexed: collections.abc.Sequence[bool],
) -> Array: ...
def index_forward(
    x: Array | None, indices: collections.abc.Sequence[Array | None]
) -> tuple[Array, Array]: ...
def integers_into(
    out: Array | None,
    generator: Generator,
    low: typing.SupportsInt | typing.SupportsIndex,
    high: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def isa() -> str: ...
def isfinite(x: Array | None) -> Array: ...
def isinf(x: Array | None) -> Array: ...
def isnan(x: Array | None) -> Array: ...
def layer_norm_backward(
    dy: Array | None,
    x: Array | None,
    dsum: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    weight: Array | None,
    mean: Array | None,
    rstd: Array | None,
    want_x: bool,
    want_weight: bool,
    want_bias: bool,
) -> tuple[typing.Any, typing.Any, typing.Any]:
    """
    (dx, dweight, dbias) or None
    """

def layer_norm_forward(
    x: Array | None,
    residual: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    weight: Array | None,
    bias: Array | None,
    eps: typing.SupportsFloat | typing.SupportsIndex,
    centred: bool,
) -> tuple[Array, typing.Any, Array, typing.Any]:
    """
    (y, mean or None, rstd, sum or None)
    """

def le(x: Array | float | None, z: Array | float | None) -> Array: ...
def leaky_relu(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def leaky_relu_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def linear_activation_forward(
    x: Array | None,
    weight: Array | None,
    bias: Array | None,
    residual: Array | None,
    activation: typing.SupportsInt | typing.SupportsIndex,
    precision: typing.SupportsInt | typing.SupportsIndex,
    keep: bool,
) -> tuple: ...
def linear_backward(
    dy: Array | None,
    x: Array | None,
    weight: Array | None,
    saved: Array | None,
    activation: typing.SupportsInt | typing.SupportsIndex,
    precision: typing.SupportsInt | typing.SupportsIndex,
    needs: list,
) -> tuple: ...
def linear_cross_entropy_backward(
    want_x: bool,
    want_weight: bool,
    want_bias: bool,
    want_target: bool,
    chunk: typing.SupportsInt | typing.SupportsIndex,
    dloss: Array | None,
    x: Array | None,
    weight: Array | None,
    target: Array | None,
    bias: Array | None,
    class_weight: Array | None,
    ignore: typing.SupportsInt | typing.SupportsIndex,
    smoothing: typing.SupportsFloat | typing.SupportsIndex,
    precision: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[Array | None, Array | None, Array | None, Array | None]:
    """
    the wanted gradients of x, weight, bias and target, for reduction none
    """

def linear_cross_entropy_forward(
    want_x: bool,
    want_weight: bool,
    want_bias: bool,
    want_target: bool,
    chunk: typing.SupportsInt | typing.SupportsIndex,
    reduction: str,
    x: Array | None,
    weight: Array | None,
    target: Array | None,
    bias: Array | None,
    class_weight: Array | None,
    ignore: typing.SupportsInt | typing.SupportsIndex,
    smoothing: typing.SupportsFloat | typing.SupportsIndex,
    precision: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[Array, tuple[Array | None, Array | None, Array | None, Array | None]]:
    """
    the loss and, for mean and sum, the wanted gradients of x, weight, bias and target
    """

def linear_forward(
    x: Array | None,
    weight: Array | None,
    bias: Array | None,
    precision: typing.SupportsInt | typing.SupportsIndex,
) -> Array: ...
def log(x: Array | None) -> Array: ...
def log1p(x: Array | None) -> Array: ...
def log1p_backward(dy: Array | None, saved: Array | None) -> Array: ...
def log2(x: Array | None) -> Array: ...
def log2_backward(dy: Array | None, saved: Array | None) -> Array: ...
def log_backward(dy: Array | None, saved: Array | None) -> Array: ...
def logical_and(x: Array | float | None, z: Array | float | None) -> Array: ...
def logical_not(x: Array | None) -> Array: ...
def logical_or(x: Array | float | None, z: Array | float | None) -> Array: ...
def logical_xor(x: Array | float | None, z: Array | float | None) -> Array: ...
def logsigmoid(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def logsigmoid_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def logsumexp_backward(
    dy: Array | None,
    x: Array | None,
    y: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
) -> Array: ...
def lt(x: Array | float | None, z: Array | float | None) -> Array: ...
def matmul_accumulate(
    c: Array | None,
    a: Array | None,
    b: Array | None,
    transpose_a: bool,
    transpose_b: bool,
    precision: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def matmul_backward(
    dy: Array | None,
    a: Array | None,
    b: Array | None,
    transpose_a: bool,
    transpose_b: bool,
    precision: typing.SupportsInt | typing.SupportsIndex,
    need_a: bool,
    need_b: bool,
) -> tuple: ...
def matmul_forward(
    a: Array | None,
    b: Array | None,
    transpose_a: bool,
    transpose_b: bool,
    precision: typing.SupportsInt | typing.SupportsIndex,
    op: str,
    scale: typing.SupportsFloat | typing.SupportsIndex = 1.0,
    residual: Array | None = None,
) -> Array: ...
def matmul_row_statistics(
    a: Array | None,
    b: Array | None,
    transpose_a: bool,
    transpose_b: bool,
    precision: typing.SupportsInt | typing.SupportsIndex,
) -> tuple: ...
def max_pool_backward(
    dy: Array | None,
    index: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    kernel: collections.abc.Sequence[typing.SupportsInt],
    stride: collections.abc.Sequence[typing.SupportsInt],
    padding: collections.abc.Sequence[typing.SupportsInt],
    dilation: collections.abc.Sequence[typing.SupportsInt],
    ceil_mode: bool,
    op: str,
) -> Array: ...
def max_pool_forward(
    x: Array | None,
    kernel: collections.abc.Sequence[typing.SupportsInt],
    stride: collections.abc.Sequence[typing.SupportsInt],
    padding: collections.abc.Sequence[typing.SupportsInt],
    dilation: collections.abc.Sequence[typing.SupportsInt],
    ceil_mode: bool,
    keep_index: bool,
    op: str,
) -> tuple[Array, Array | None]: ...
def max_unpool_backward(
    dy: Array | None, index: Array | None, axes: typing.SupportsInt | typing.SupportsIndex, op: str
) -> Array: ...
def max_unpool_forward(
    x: Array | None, index: Array | None, size: collections.abc.Sequence[typing.SupportsInt], op: str
) -> Array: ...
def maximum(x: Array | float | None, z: Array | float | None) -> Array: ...
def maximum_backward(dy: Array | None, x: Array | float | None, z: Array | float | None) -> Array: ...
def memory_stats(device: str = "cpu") -> dict: ...
def minimum(x: Array | float | None, z: Array | float | None) -> Array: ...
def minimum_backward(dy: Array | None, x: Array | float | None, z: Array | float | None) -> Array: ...
def mish(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def mish_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def mul(x: Array | float | None, z: Array | float | None) -> Array: ...
def multi_margin_forward(
    x: Array | None,
    target: Array | None,
    p: typing.SupportsInt | typing.SupportsIndex,
    margin: typing.SupportsFloat | typing.SupportsIndex,
    weight: Array | None,
    reduction: str,
    want_dx: bool,
) -> tuple[Array, Array | None]: ...
def multilabel_margin_forward(
    x: Array | None, target: Array | None, reduction: str, want_dx: bool
) -> tuple[Array, Array | None]: ...
def narrow(
    x: Array | None,
    axis: typing.SupportsInt | typing.SupportsIndex,
    start: typing.SupportsInt | typing.SupportsIndex,
    length: typing.SupportsInt | typing.SupportsIndex,
) -> Array: ...
def narrow_backward(
    dy: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    axis: typing.SupportsInt | typing.SupportsIndex,
    start: typing.SupportsInt | typing.SupportsIndex,
) -> Array: ...
def ne(x: Array | float | None, z: Array | float | None) -> Array: ...
def neg(x: Array | None) -> Array: ...
def neg_backward(dy: Array | None, saved: Array | None) -> Array: ...
def nll_loss_backward(
    dy: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    target: Array | None,
    weight: Array | None,
    ignore: typing.SupportsInt | typing.SupportsIndex,
    reduction: str,
) -> Array: ...
def nll_loss_forward(
    x: Array | None,
    target: Array | None,
    weight: Array | None,
    ignore: typing.SupportsInt | typing.SupportsIndex,
    reduction: str,
) -> Array: ...
def nms(
    boxes: Array | None,
    scores: Array | None,
    classes: Array | None,
    threshold: typing.SupportsFloat | typing.SupportsIndex,
) -> Array: ...
def nonzero(x: Array | None) -> Array: ...
def norm_backward(
    dy: Array | None,
    x: Array | None,
    y: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
    p: typing.SupportsFloat | typing.SupportsIndex,
) -> Array: ...
def normal_into(
    out: Array | None,
    generator: Generator,
    mean: typing.SupportsFloat | typing.SupportsIndex,
    std: typing.SupportsFloat | typing.SupportsIndex,
) -> None: ...
def num_threads() -> int: ...
def one_hot(index: Array | None, classes: typing.SupportsInt | typing.SupportsIndex) -> Array: ...
def pad_backward(
    dy: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    pads: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    mode: str,
) -> Array: ...
def pad_forward(
    x: Array | None,
    pads: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    mode: str,
    value: typing.SupportsFloat | typing.SupportsIndex,
) -> Array: ...
def pair_loss_backward(
    want_x: bool,
    want_y: bool,
    want_a: bool,
    dloss: Array | None,
    op: str,
    x: Array | None,
    y: Array | None,
    a: Array | None,
    b: Array | None,
    c: typing.SupportsFloat | typing.SupportsIndex,
    full: bool,
    reduction: str,
    count: typing.SupportsInt | typing.SupportsIndex,
) -> tuple[Array | None, Array | None, Array | None]: ...
def pair_loss_forward(
    op: str,
    x: Array | None,
    y: Array | None,
    a: Array | None,
    b: Array | None,
    c: typing.SupportsFloat | typing.SupportsIndex,
    full: bool,
    reduction: str,
    count: typing.SupportsInt | typing.SupportsIndex,
) -> Array: ...
def peak_amx(
    iterations: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex
) -> int: ...
def peak_copy(
    x: Array | None,
    y: Array | None,
    repeats: typing.SupportsInt | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> None: ...
def peak_dot(
    iterations: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex
) -> int: ...
def peak_fma(
    iterations: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex
) -> int: ...
def peak_read(
    x: Array | None,
    repeats: typing.SupportsInt | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex,
) -> float: ...
def permutation_into(out: Array | None, generator: Generator) -> None: ...
def permute(x: Array | None, dims: collections.abc.Sequence[typing.SupportsInt]) -> Array: ...
def philox(
    counter: typing.Annotated[
        collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], "FixedSize(4)"
    ],
    seed: typing.SupportsInt | typing.SupportsIndex,
) -> typing.Annotated[list[int], "FixedSize(4)"]:
    """
    One counter of four words through Philox4x32-10.
    """

def pixel_shuffle(x: Array | None, factor: typing.SupportsInt | typing.SupportsIndex) -> Array: ...
def pixel_unshuffle(x: Array | None, factor: typing.SupportsInt | typing.SupportsIndex) -> Array: ...
def place_along(
    dy: Array | None,
    positions: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    axis: typing.SupportsInt | typing.SupportsIndex,
) -> Array: ...
def pooled_conv_backward(
    dy: Array | None,
    x: Array | None,
    weight: Array | None,
    y: Array | None,
    index: Array | None,
    stride: collections.abc.Sequence[typing.SupportsInt],
    padding: collections.abc.Sequence[typing.SupportsInt],
    dilation: collections.abc.Sequence[typing.SupportsInt],
    groups: typing.SupportsInt | typing.SupportsIndex,
    activation: typing.SupportsInt | typing.SupportsIndex,
    code: typing.SupportsInt | typing.SupportsIndex,
    op: str,
    pool_kernel: collections.abc.Sequence[typing.SupportsInt],
    pool_stride: collections.abc.Sequence[typing.SupportsInt],
    pool_padding: collections.abc.Sequence[typing.SupportsInt],
    pool_dilation: collections.abc.Sequence[typing.SupportsInt],
    ceil_mode: bool,
    pool_op: str,
    needs: list,
) -> tuple: ...
def pooled_conv_forward(
    x: Array | None,
    weight: Array | None,
    bias: Array | None,
    stride: collections.abc.Sequence[typing.SupportsInt],
    padding: collections.abc.Sequence[typing.SupportsInt],
    dilation: collections.abc.Sequence[typing.SupportsInt],
    groups: typing.SupportsInt | typing.SupportsIndex,
    activation: typing.SupportsInt | typing.SupportsIndex,
    code: typing.SupportsInt | typing.SupportsIndex,
    op: str,
    pool_kernel: collections.abc.Sequence[typing.SupportsInt],
    pool_stride: collections.abc.Sequence[typing.SupportsInt],
    pool_padding: collections.abc.Sequence[typing.SupportsInt],
    pool_dilation: collections.abc.Sequence[typing.SupportsInt],
    ceil_mode: bool,
    pool_op: str,
    keep_index: bool,
) -> tuple[Array, Array | None]: ...
def pow(x: Array | float | None, z: Array | float | None) -> Array: ...
def pow_base_backward(dy: Array | None, x: Array | float | None, z: Array | float | None) -> Array: ...
def pow_exponent_backward(dy: Array | None, x: Array | float | None, z: Array | float | None) -> Array: ...
def prelu(x: Array | None, w: Array | None) -> Array: ...
def prelu_backward(dy: Array | None, x: Array | None, w: Array | None) -> Array: ...
def prelu_weight_backward(dy: Array | None, x: Array | None, w: Array | None) -> Array: ...
def prod_backward(
    dy: Array | None,
    x: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
) -> Array: ...
def reciprocal(x: Array | None) -> Array: ...
def reciprocal_backward(dy: Array | None, saved: Array | None) -> Array: ...
def recurrent_backward(
    tape: RecurrentTape, dy: Array | None, dhn: Array | None, dcn: Array | None, needs: list
) -> list: ...
def recurrent_cell_forward(
    layer: Recurrent,
    x: Array | None,
    h0: Array | None,
    c0: Array | None,
    weights: collections.abc.Sequence[Array],
    precision: typing.SupportsInt | typing.SupportsIndex,
    keep: bool,
) -> tuple:
    """
    (y, hn, cn or None, tape or None)
    """

def recurrent_forward(
    layer: Recurrent,
    x: Array | None,
    h0: Array | None,
    c0: Array | None,
    weights: collections.abc.Sequence[Array],
    precision: typing.SupportsInt | typing.SupportsIndex,
    generator: Generator,
    dropped: bool,
    keep: bool,
    lengths: Array | None = None,
) -> tuple:
    """
    (y, hn, cn or None, tape or None)
    """

def recurrent_packed_forward(
    layer: Recurrent,
    x: Array | None,
    h0: Array | None,
    c0: Array | None,
    weights: collections.abc.Sequence[Array],
    precision: typing.SupportsInt | typing.SupportsIndex,
    generator: Generator,
    dropped: bool,
    keep: bool,
    batch_sizes: Array | None,
    order: Array | None,
) -> tuple:
    """
    (y, hn, cn or None, tape or None)
    """

def reduce_extreme(
    x: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
    keepdim: bool,
    largest: bool,
) -> Array: ...
def reduce_logsumexp(
    x: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
    keepdim: bool,
) -> Array: ...
def reduce_mean(
    x: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
    keepdim: bool,
) -> Array: ...
def reduce_norm(
    x: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
    keepdim: bool,
    p: typing.SupportsFloat | typing.SupportsIndex,
) -> Array: ...
def reduce_prod(
    x: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
    keepdim: bool,
) -> Array: ...
def reduce_sum(
    x: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
    keepdim: bool,
) -> Array: ...
def reduce_truth(
    x: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
    keepdim: bool,
    all: bool,
) -> Array: ...
def reduce_var(
    x: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
    keepdim: bool,
    correction: typing.SupportsFloat | typing.SupportsIndex,
    root: bool,
) -> tuple[Array, Array]: ...
def register_backend(device: str, backend: typing_extensions.CapsuleType) -> None: ...
def relu(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def relu_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def remainder(x: Array | float | None, z: Array | float | None) -> Array: ...
def repeat(x: Array | None, counts: collections.abc.Sequence[typing.SupportsInt]) -> Array: ...
def reset_peak_memory(device: str = "cpu") -> None: ...
def reshape(x: Array | None, shape: collections.abc.Sequence[typing.SupportsInt], op: str) -> Array: ...
def resize_backward(
    dy: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    mode: typing.SupportsInt | typing.SupportsIndex,
    align_corners: bool,
    antialias: bool,
    scales: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    op: str,
) -> Array: ...
def resize_forward(
    x: Array | None,
    size: collections.abc.Sequence[typing.SupportsInt],
    mode: typing.SupportsInt | typing.SupportsIndex,
    align_corners: bool,
    antialias: bool,
    scales: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex],
    op: str,
) -> Array: ...
def response_norm_backward(
    dy: Array | None,
    x: Array | None,
    size: typing.SupportsInt | typing.SupportsIndex,
    alpha: typing.SupportsFloat | typing.SupportsIndex,
    beta: typing.SupportsFloat | typing.SupportsIndex,
    k: typing.SupportsFloat | typing.SupportsIndex,
) -> Array: ...
def response_norm_forward(
    x: Array | None,
    size: typing.SupportsInt | typing.SupportsIndex,
    alpha: typing.SupportsFloat | typing.SupportsIndex,
    beta: typing.SupportsFloat | typing.SupportsIndex,
    k: typing.SupportsFloat | typing.SupportsIndex,
) -> Array: ...
def roll(
    x: Array | None,
    shifts: collections.abc.Sequence[typing.SupportsInt],
    dims: collections.abc.Sequence[typing.SupportsInt],
) -> Array: ...
def rotary(
    x: Array | None,
    cos: Array | None,
    sin: Array | None,
    heads: typing.SupportsInt | typing.SupportsIndex,
    interleaved: bool,
    back: bool,
) -> Array: ...
def round(x: Array | None) -> Array: ...
def rsqrt(x: Array | None) -> Array: ...
def rsqrt_backward(dy: Array | None, saved: Array | None) -> Array: ...
def scale_to_norm(
    arrays: collections.abc.Sequence[Array],
    norm: Array | None,
    max_norm: typing.SupportsFloat | typing.SupportsIndex,
) -> None: ...
def scatter(
    x: Array | None,
    axis: typing.SupportsInt | typing.SupportsIndex,
    index: Array | None,
    source: Array | None,
    add: bool,
) -> Array: ...
def set_cache_budget(bytes: typing.SupportsInt | typing.SupportsIndex) -> None: ...
def set_isa(name: str) -> None: ...
def set_num_threads(count: typing.SupportsInt | typing.SupportsIndex) -> None: ...
def set_tier(device: str, name: str) -> None: ...
def sigmoid(x: Array | None) -> Array: ...
def sigmoid_backward(dy: Array | None, saved: Array | None) -> Array: ...
def sign(x: Array | None) -> Array: ...
def silu(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def silu_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def sin(x: Array | None) -> Array: ...
def sin_backward(dy: Array | None, saved: Array | None) -> Array: ...
def softmax_backward(
    dy: Array | None, y: Array | None, axis: typing.SupportsInt | typing.SupportsIndex, log: bool
) -> Array: ...
def softmax_forward(x: Array | None, axis: typing.SupportsInt | typing.SupportsIndex, log: bool) -> Array: ...
def softplus(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def softplus_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def softshrink(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def softshrink_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def softsign(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def softsign_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def sort(
    x: Array | None, axis: typing.SupportsInt | typing.SupportsIndex, descending: bool
) -> tuple[Array, Array]: ...
def split(
    x: Array | None,
    sizes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    axis: typing.SupportsInt | typing.SupportsIndex,
) -> list[Array]: ...
def split_backward(
    pieces: collections.abc.Sequence[Array | None],
    sizes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex],
    axis: typing.SupportsInt | typing.SupportsIndex,
    shape: collections.abc.Sequence[typing.SupportsInt],
    dtype: str | type | numpy.dtype[typing.Any],
) -> Array: ...
def sqrt(x: Array | None) -> Array: ...
def sqrt_backward(dy: Array | None, saved: Array | None) -> Array: ...
def square(x: Array | None) -> Array: ...
def square_backward(dy: Array | None, saved: Array | None) -> Array: ...
def stream(device: str) -> int: ...
def sub(x: Array | float | None, z: Array | float | None) -> Array: ...
def sum_backward(
    dy: Array | None,
    shape: collections.abc.Sequence[typing.SupportsInt],
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
    scale: typing.SupportsFloat | typing.SupportsIndex,
) -> Array: ...
def sum_to(dy: Array | None, shape: collections.abc.Sequence[typing.SupportsInt]) -> Array: ...
def synchronize(device: str) -> None: ...
def tanh(x: Array | None) -> Array: ...
def tanh_backward(dy: Array | None, saved: Array | None) -> Array: ...
def tanhshrink(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def tanhshrink_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def threshold(
    x: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def threshold_backward(
    dy: Array | None,
    saved: Array | None,
    a: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    b: typing.SupportsFloat | typing.SupportsIndex = 0.0,
    c: typing.SupportsFloat | typing.SupportsIndex = 0.0,
) -> Array: ...
def tier(device: str) -> str: ...
def topk(
    x: Array | None,
    k: typing.SupportsInt | typing.SupportsIndex,
    axis: typing.SupportsInt | typing.SupportsIndex,
    largest: bool,
) -> tuple[Array, Array]: ...
def total_norm(
    arrays: collections.abc.Sequence[Array], p: typing.SupportsFloat | typing.SupportsIndex
) -> Array: ...
def triangle(x: Array | None, k: typing.SupportsInt | typing.SupportsIndex, lower: bool) -> Array: ...
def trunc(x: Array | None) -> Array: ...
def unfold(
    x: Array | None,
    kernel: collections.abc.Sequence[typing.SupportsInt],
    dilation: collections.abc.Sequence[typing.SupportsInt],
    padding: collections.abc.Sequence[typing.SupportsInt],
    stride: collections.abc.Sequence[typing.SupportsInt],
) -> Array: ...
def uniform_into(
    out: Array | None,
    generator: Generator,
    low: typing.SupportsFloat | typing.SupportsIndex,
    high: typing.SupportsFloat | typing.SupportsIndex,
) -> None: ...
def unit_gradient(output: Array | None) -> Array:
    """
    The gradient that an output of one element starts from: 1.
    """

def unshared(results: typing.Any, index: typing.SupportsInt | typing.SupportsIndex) -> typing.Any:
    """
    results[index] if nothing but the sequence refers to it or to its memory, else a copy.
    """

def var_backward(
    dy: Array | None,
    x: Array | None,
    y: Array | None,
    mean: Array | None,
    axes: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None,
    correction: typing.SupportsFloat | typing.SupportsIndex,
    root: bool,
) -> Array: ...
def where(c: Array | None, x: Array | float | None, z: Array | float | None) -> Array: ...
def why_unavailable(device: str) -> str:
    """
    Why a device cannot be used here; empty if it can.
    """

def zeros(
    shape: collections.abc.Sequence[typing.SupportsInt],
    dtype: str | type | numpy.dtype[typing.Any] = "float32",
    device: str = "cpu",
) -> Array: ...
