"""Where the figures of the README come from: real processes on loopback, measured side by side.

Knows Motive only from outside, as its clients do. A figure depends on the machine; what counts are the ratios, and each
of them is between processes that were measured within seconds of each other.
"""
