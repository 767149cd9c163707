"""Models and training: blocks, exact freezing, the frozen prefix's cache, and the search over depths.

Knows nothing of situations or advice; ``advisor`` imports this package, never the other way round.
"""
