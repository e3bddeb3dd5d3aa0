"""The five benchmarks, in the paper's protocol and in lm-evaluation-harness's own.

Items are written once for a tokenizer (``items``), scored in shards by a model (``store``), each
protocol in its own room: ``paper`` generates answers, ``harness`` compares log-likelihoods.
"""
