"""The project's words, each with its meaning in a sentence or two: the same in code, tables, pages and docs."""

from __future__ import annotations

TERMS = {
    "token": "A piece of text the model knows as one symbol: a word, part of one, or white space. The prompt is its n "
    "tokens.",
    "embedding": "The vector a token starts with, [d_model] numbers looked up in a learned table, the same wherever "
    "the token stands.",
    "residual": "The vector that travels with a token through all layers. Each layer adds something to it.",
    "logit": "The score of a possible next token, any number. A softmax over all logits makes probabilities of them.",
    "MLP": "The other half of a block: a feed-forward network that works on each token's vector alone, and adds to it.",
    "attention input": "What the attention layer receives for each token: the residual after the block's norm, "
    "[n, d_model].",
    "parameter": "A learned number. It was fixed when training ended and is the same for every prompt.",
    "activation": "A number computed from the prompt. Another prompt gives another number.",
    "W_q": "Learned matrix that makes query vectors. One layer's is [heads × d_head, d_model]; each head owns a slice.",
    "W_k": "Learned matrix that makes key vectors. Several query heads may share one key/value head's slice.",
    "W_v": "Learned matrix that makes value vectors. Several query heads may share one key/value head's slice.",
    "W_o": "Learned matrix that combines the context vectors of all heads into the attention output, "
    "[d_model, heads × d_head].",
    "d_model": "How many numbers a token's vector has on its way through the layers.",
    "d_head": "How many numbers a query or key vector has in one head.",
    "head": "One of several attentions that a layer computes side by side, each with its own slices of W_q and W_o; "
    "those of W_k and W_v may be shared.",
    "query vector": "What a token looks for, [d_head]: the attention input times W_q.",
    "key vector": "What a token advertises, [d_head]: the attention input times W_k.",
    "value vector": "What a token passes on to those that attend to it: the attention input times W_v.",
    "RoPE": "Rotary position embedding: each pair of a query's or key's dimensions is rotated by an angle that grows "
    "with the token's position. A product of two rotated vectors depends on positions only by their distance.",
    "attention score": "The raw dot product query · key of one query token and one key token. Any number.",
    "scale": "What scores are multiplied by: 1 / √d_head, unless the model says otherwise.",
    "scaled score": "The score times the scale, as the softmax sees it, before the mask. Any number.",
    "mask": "Which key tokens a query token may attend to. In a causal model: itself and those before it.",
    "softmax": "e to the power of each number, divided by the sum of all of these: positive shares that add up to 1.",
    "attention weight": "How much of a key token's value vector is passed on to the query token: 0 to 1; a row adds up "
    "to 1 (less where the model has attention sinks). An activation, not a parameter.",
    "weighted values": "Each key token's value vector times its attention weight.",
    "context vector": "The sum of the weighted values: what this head gathers for this query token.",
    "attention output": "All heads' context vectors side by side, times W_o, [n, d_model]. Added to the residual, "
    "in some models after a norm or a factor.",
    "query token": "The token that attends: a row of the attention grid.",
    "key token": "A token that is attended to: a column of the attention grid.",
    "entropy": "How widely a row of weights is spread, in bits: 0 bits: all on one token; 3 bits: like 8 equally "
    "likely options.",
    "key/value cache": "While a model writes, the keys and values of all tokens so far, stored so that each new token "
    "needs only its own.",
}
