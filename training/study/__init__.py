"""The study of masks: what they share, what they do, and how stable they are, as one HTML page.

Each file is one sub-study: a measure that returns plain data, a drawing of it, and its section of
the page. `training.study.run` runs them.
"""
