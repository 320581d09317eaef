"""Write the README of a reference: what each file holds, and what each layer's attention is like."""

from __future__ import annotations

from collections.abc import Sequence

from inspector.capture.records import LayerInfo
from inspector.model.model import Model
from inspector.model.options import dtype_name
from inspector.trace.trace import Trace
from inspector.verification.report import versions
from reimpl.spec import AttentionSpec

_TEXT = """# The numbers that a right implementation gives

{model}, {n} token{s}, {dtype}. {note}

{prompt}They were computed by the library's own attention ({versions}). Compare with them while you write, or write
your own numbers under the same names and ask what differs, and why:

```sh
attention-inspector judge {name} {ask}--dumps YOUR_FOLDER
```

## Files

`dump.json` has the token ids and says how the arrays lie; {ids_file} has the ids again, as 64-bit integers [{n}].
{files}
Every array is in C order, the last axis the fastest, and its numbers are {stored}. h counts the query heads, g the
key/value heads, n the {n} tokens, d the numbers of a head, m = {m} those of the model's width.

| name | shape | what it is |
| --- | --- | --- |
| `input` | [n, m] | what the layer's attention receives, after the block's norm |
| `query_pre` | [h, n, d] | queries before RoPE, biases and norms of queries done |
| `key_pre` | [g, n, d] | keys before RoPE |
| `query` | [h, n, d] | queries after RoPE |
| `key` | [g, n, d] | keys after RoPE |
| `value` | [g, n, d_v] | values |
| `weights` | [h, n, n] | attention weights: row t is what query t gives to keys 0 to n - 1, 0 to what it may not see |
| `context` | [h, n, d_v] | each head's weighted sum of values |
| `output` | [n, m] | what the layer's attention returns, after W_o |

Query head i uses key/value head i // (h / g). The first token stands at position 0.

## Layers

| layer | module | h | g | d | d_v | scale | window | soft-cap | sinks | RoPE |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{layers}

The scale multiplies query · key. A window counts the tokens that a query may look at, itself included; without one it
may look at all tokens before it. RoPE: halves turns dimension i with i + d/2, pairs turns 2i with 2i + 1; plane i turns
by position · base^(-2i/d) (d: the dimensions turned), unless a rule is named.
"""


def readme(model: Model, trace: Trace, infos: Sequence[LayerInfo], *, specs: Sequence[AttentionSpec], npy: bool) -> str:
    """Return the README of a reference as Markdown.

    Args:
        model: whose numbers they are.
        trace: the recorded prompt.
        infos: the layers that were written.
        specs: what each of the model's layers is like, by its number; empty where its family is not reimplemented.
        npy: whether each array is an .npy of its own.

    Returns:
        The text.
    """
    first = infos[0].index
    text = trace.prompt
    dtype = dtype_name(model.dtype)
    one = f"Each array is a file of its own: `layers.{first}.query.npy` has layer {first}'s `query`."
    many = f"Each layer is a file: `layers.{first}.safetensors` has layer {first}'s arrays by the names below."
    short = text is not None and len(text) < 200 and text.isprintable() and not set(text) & set("`\"'\\$!")
    return _TEXT.format(
        model=model.name,
        n=trace.n,
        s="" if trace.n == 1 else "s",
        dtype=dtype,
        note=model.source.note,
        prompt=f"The prompt: `{text}`\n\n" if short else "",
        versions=", ".join(f"{name} {number}" for name, number in versions().items()),
        name=model.name,
        ask=f'--prompt "{text}" ' if short else "--prompt-file YOUR_PROMPT ",
        ids_file="`ids.npy`" if npy else "`ids.safetensors`",
        files=one if npy else many,
        stored="float32, since .npy has no bfloat16" if npy and dtype == "bfloat16" else dtype,
        m=int(trace.input(first).shape[-1]),
        layers="\n".join(_row(info, specs[info.index] if specs else None) for info in infos),
    )


def _row(info: LayerInfo, spec: AttentionSpec | None) -> str:
    """Return one layer's line of the table; a prompt shorter than a window does not show it, the spec does."""
    turns = {True: "yes", False: "no", None: "not known"}[info.rope]
    window, chunk = info.window, info.chunk
    if spec is not None:
        window, chunk = spec.mask.window, spec.mask.chunk
        if (rope := spec.rope) is not None and info.rope:
            rule = f", {rope.rule}" if rope.rule != "default" else ""
            turns = f"base {rope.theta:g}, {rope.style}, {rope.dim} dimensions{rule}"
    seen = window or (f"chunks of {chunk}" if chunk else "none" if spec is not None else "none in this prompt")
    cells = (
        info.index, f"`{info.name}`", info.heads, info.kv_heads, info.d_head, info.d_value, f"{info.scale:.9g}", seen,
        info.softcap or "none", "yes" if info.sinks else "none", turns,
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"
