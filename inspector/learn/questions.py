"""Ask two questions at the end of each laboratory. The answers follow from the numbers shown there; tests hold them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question with options, of which one is right.

    Attributes:
        laboratory: the name of the page that asks it.
        asks: the question.
        options: what may be chosen.
        right: the index of the right option.
        why: one sentence, shown once an option is chosen.
    """

    laboratory: str
    asks: str
    options: tuple[str, ...]
    right: int
    why: str


def questions_of(laboratory: str) -> tuple[Question, ...]:
    """Return a laboratory's questions.

    Args:
        laboratory: its page's name.

    Returns:
        Two, in the order in which they are asked.
    """
    return tuple(question for question in QUESTIONS if question.laboratory == laboratory)


# fmt: off
QUESTIONS = (
    Question(
        "softmax", "All scores of a row are multiplied by 10. What happens to the largest weight?",
        ("It gets larger", "It stays the same", "It gets smaller"), 0,
        "Scaling sharpens: softmax sees differences between scores, and these are now ten times as large.",
    ),
    Question(
        "softmax", "A head has d_head = 64. What are its scores divided by?",
        ("64", "8", "The number of heads"), 1,
        "A sum of 64 products with variance 1 has the standard deviation √64 = 8, which the division takes back to 1.",
    ),
    Question(
        "position", "Query and key both move on by 100 positions. What happens to their score?",
        ("It shrinks", "It changes sign", "It stays the same"), 2,
        "Both are turned by the same angle more, and a score depends on positions only by their distance.",
    ),
    Question(
        "position", "What does RoPE do to the length of a query vector?",
        ("Nothing", "It grows with the position", "It becomes 1"), 0,
        "Rotation preserves length: only directions change.",
    ),
    Question(
        "mask_and_heads", "The mask is switched off. What do the weights of one row add up to then?",
        ("More than 1", "1, as before", "Less than 1"), 1,
        "Softmax shares out exactly 1 in either case; without the mask, later tokens take part of it.",
    ),
    Question(
        "mask_and_heads", "Which token's row does a causal mask leave as it is?",
        ("The first token's", "The last token's", "No token's"), 1,
        "The last token comes after all others, so nothing is hidden from it.",
    ),
    Question(
        "context", "The prompt becomes twice as long. How much more memory do all attention weights take?",
        ("Twice as much", "Four times as much", "Just as much"), 1,
        "There is one weight for each pair of tokens, so the number of weights grows with n².",
    ),
    Question(
        "context", "And the key/value cache?",
        ("Twice as much", "Four times as much", "Just as much"), 0,
        "The cache has one key and one value for each token and layer, so it grows with n.",
    ),
    Question(
        "two_contexts", "The same token stands in two sentences. How far apart are its two embeddings?",
        ("Not at all", "As far as the sentences differ", "It depends on the position"), 0,
        "An embedding is a row of a table, looked up by the token alone; context comes in through attention.",
    ),
    Question(
        "two_contexts", "What brings the context into the word's vector?",
        ("The token table", "Attention", "The norm"), 1,
        "Attention is the only step in which one token's vector receives anything from other tokens.",
    ),
    Question(
        "it_and_cat", "A head gives “cat” a weight of 0.8 from “it”. What does that say?",
        (
            "The model knows that the cat is tired",
            "“cat” is the most probable next token",
            "Four fifths of what this head passes on to “it” come from “cat”",
        ), 2,
        "A weight says whose value vector is passed on and how much of it, not what the model has understood.",
    ),
    Question(
        "it_and_cat", "Do all heads look from “it” to “cat”?",
        ("Yes, nearly all", "No, only a few do strongly"), 1,
        "Each head has its own W_q and W_k: a few look there strongly, most look elsewhere.",
    ),
    Question(
        "four_ways", "Loops and matrices give vectors that differ by 0.0000001. Why?",
        ("One of them is wrong", "They add up in another order and round differently", "Loops use another softmax"), 1,
        "Adding floating-point numbers in another order rounds differently; the formula is the same.",
    ),
    Question(
        "four_ways", "How would a real mistake, such as a forgotten scale, look?",
        ("A difference larger than the tolerance", "A difference of rounding", "It could not be seen"), 0,
        "The planted mistakes show it: they differ by more than rounding ever could.",
    ),
    Question(
        "cross_attention", "Your text has 8 tokens, the other has 10. How large is the map?",
        ("8 × 8", "8 × 10", "18 × 18"), 1,
        "There is a row for each query of your text and a column for each key of the other.",
    ),
    Question(
        "cross_attention", "Which of these may be hidden by a causal mask here?",
        ("Later tokens of the other text", "The first token of the other text", "None"), 2,
        "The other text is known in full before the first token is written, so nothing of it has to be hidden.",
    ),
    Question(
        "dropout", "With p = 0.5, what happens to a weight that is not dropped?",
        ("It stays the same", "It is doubled", "It is halved"), 1,
        "It is divided by 1 − p = 0.5, so that the mean over many draws is the weight itself.",
    ),
    Question(
        "dropout", "The finished model runs your prompt twice. How many numbers differ?",
        ("None", "About half of them", "Those of the last layer"), 0,
        "Dropout is for training: a model that is used does not drop anything.",
    ),
    Question(
        "head_shares", "How are the heads' shares combined into the attention output?",
        ("The longest is taken", "They are added up", "They are averaged"), 1,
        "W_o applied to all heads side by side is the sum of each head's slice applied to its own vector.",
    ),
    Question(
        "head_shares", "Do the lengths of the shares add up to the length of the output?",
        ("Yes", "No, they add up to at least that length"), 1,
        "Shares may point in different directions and partly cancel; their projections add up, lengths do not.",
    ),
)
# fmt: on
