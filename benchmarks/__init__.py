"""Every speed claim as a script that measures us and a peer side by side in one run.

Run one from the root of a checkout: `python -m benchmarks.serve_one`. Nothing here is a test: no
figure is asserted, and figures in the documentation are pasted from a script's output.
"""
