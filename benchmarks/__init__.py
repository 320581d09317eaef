"""Do the same work by us and by what one would use instead, as ratios. Nothing here is timed in the tests.

`make bench` runs `python -m benchmarks`, which starts everything below in processes of its own:

    ways          ways through the model, and the proof that they give the same numbers
    forward       seconds and peak memory of each way
    pictures      one head's picture and the grid of all heads, from a prompt's vectors or from stored weights
    pages         bytes sent to a browser, against BertViz's stock page
    loading       the packaged model, first and again, and a folder, against the library
    verification  what a verification costs
    judging       what a judgement of somebody's own attention costs; by itself, python -m benchmarks.judging
    app           the app in a real browser: clicks until they are painted, pages, the first picture, memory
    browser       the app's own launcher, a browser, and a clock in its pages
    bounds        what the arithmetic and the memory of all this come to, and what this machine can do
    process       a measurement in a process of its own, and its peak memory
    report        the tables of results.md, and what is known of the machine and the packaged model
    app_tables    the tables of the app, with its goals
    tables        tables and numbers as text
"""

# Prompt lengths, and how often each way is timed at that length.
ROUNDS = {128: 5, 512: 3, 2048: 2, 8192: 1}
