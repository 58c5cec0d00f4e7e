"""ONNX Runtime's packing operators as ONNX functions, since it has kernels for them on CUDA alone.

Written from their documentation (ContribOperators.md), for a few pairs: attention is one matrix over all tokens.
"""

import onnx
from onnx import ModelProto, helper, parser

DOMAIN = "packing.on.cpu"
_HEAD = f'<domain: "{DOMAIN}", opset_import: ["" : 17]>\n'

REMOVE_PADDING = """
RemovePadding (input, count) => (packed, offset, ends, longest) {
    zero = Constant<value_int = 0>()
    one = Constant<value_int = 1>()
    axis0 = Constant<value_ints = [0]>()
    axis1 = Constant<value_ints = [1]>()
    flat = Constant<value_ints = [-1]>()
    lengths = Cast<to = 7>(count)
    tokens_1 = Shape<start = 1, end = 2>(input)
    tokens = Squeeze(tokens_1, axis0)
    place_T = Range(zero, tokens, one)
    lengths_P1 = Unsqueeze(lengths, axis1)
    real_PT = Less(place_T, lengths_P1)
    real = Reshape(real_PT, flat)
    padding = Not(real)
    real_at_1N = NonZero(real)
    padding_at_1M = NonZero(padding)
    real_at = Reshape(real_at_1N, flat)
    padding_at = Reshape(padding_at_1M, flat)
    order = Concat<axis = 0>(real_at, padding_at)
    grid = Shape<start = 0, end = 2>(input)
    order_PT = Reshape(order, grid)
    offset = Cast<to = 6>(order_PT)
    width = Shape<start = 2, end = 3>(input)
    rows_shape = Concat<axis = 0>(flat, width)
    rows = Reshape(input, rows_shape)
    packed = Gather(rows, real_at)
    sums = CumSum(lengths, zero)
    from_zero = Concat<axis = 0>(axis0, sums)
    ends = Cast<to = 6>(from_zero)
    most = ReduceMax<keepdims = 1>(lengths)
    longest = Cast<to = 6>(most)
}"""

RESTORE_PADDING = """
RestorePadding (packed, offset) => (output) {
    axis0 = Constant<value_ints = [0]>()
    axis1 = Constant<value_ints = [1]>()
    flat = Constant<value_ints = [-1]>()
    width = Shape<start = 1, end = 2>(packed)
    size = Size(offset)
    size_1 = Reshape(size, flat)
    rows_shape = Concat<axis = 0>(size_1, width)
    zeros = ConstantOfShape(rows_shape)
    blank = CastLike(zeros, packed)
    offset_flat = Reshape(offset, flat)
    order = Cast<to = 7>(offset_flat)
    kept = Shape<start = 0, end = 1>(packed)
    real_at = Slice(order, axis0, kept)
    real_at_N1 = Unsqueeze(real_at, axis1)
    rows = ScatterND(blank, real_at_N1, packed)
    grid = Shape(offset)
    shape = Concat<axis = 0>(grid, width)
    output = Reshape(rows, shape)
}"""

PACKED_ATTENTION = """
PackedAttention <num_heads> (input, weights, bias, offset, ends, relative) => (output) {
    zero = Constant<value_int = 0>()
    one = Constant<value_int = 1>()
    two = Constant<value_int = 2>()
    axis0 = Constant<value_ints = [0]>()
    axis1 = Constant<value_ints = [1]>()
    three = Constant<value_ints = [3]>()
    flat = Constant<value_ints = [-1]>()
    far = Constant<value_float = -10000.0>()
    product = MatMul(input, weights)
    mapped = Add(product, bias)
    heads = Constant<value_int : int = @num_heads>()
    heads_1 = Reshape(heads, flat)
    by_head = Concat<axis = 0>(axis0, three, heads_1, flat)
    mapped_N3HD = Reshape(mapped, by_head)
    mapped_3HND = Transpose<perm = [1, 2, 0, 3]>(mapped_N3HD)
    queries = Gather(mapped_3HND, zero)
    keys = Gather(mapped_3HND, one)
    values = Gather(mapped_3HND, two)
    keys_HDN = Transpose<perm = [0, 2, 1]>(keys)
    products = MatMul(queries, keys_HDN)
    size = Shape<start = -1>(queries)
    size_float = CastLike(size, queries)
    root = Sqrt(size_float)
    scores = Div(products, root)
    tokens_1 = Shape<start = 0, end = 1>(input)
    tokens = Squeeze(tokens_1, axis0)
    place = Range(zero, tokens, one)
    place_N1 = Unsqueeze(place, axis1)
    ends_long = Cast<to = 7>(ends)
    begun = GreaterOrEqual(place_N1, ends_long)
    begun_long = Cast<to = 7>(begun)
    pair = ReduceSum<keepdims = 0>(begun_long, axis1)
    pair_N1 = Unsqueeze(pair, axis1)
    pair_1N = Unsqueeze(pair, axis0)
    same = Equal(pair_N1, pair_1N)
    hidden = CastLike(far, scores)
    seen = Where(same, scores, hidden)
    attention = Softmax(seen)
    context_HND = MatMul(attention, values)
    context_NHD = Transpose<perm = [1, 0, 2]>(context_HND)
    rows = Constant<value_ints = [0, -1]>()
    output = Reshape(context_NHD, rows)
}"""


def given_to(model: ModelProto) -> ModelProto:
    """The graph with these functions in place of the operators, which the CPU can run."""
    on_cpu = onnx.ModelProto()
    on_cpu.CopyFrom(model)
    functions = [
        parser.parse_function(_HEAD + text)
        for text in (REMOVE_PADDING, RESTORE_PADDING, PACKED_ATTENTION)
    ]
    on_cpu.functions.extend(functions)
    on_cpu.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    names = {function.name for function in functions}
    for node in on_cpu.graph.node:
        if node.op_type in names:
            node.domain = DOMAIN
    return on_cpu
