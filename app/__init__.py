"""The REST service: one resident model, every request under the masks it names.

Data walks from `app.routes` through `app.completion` and `app.batcher` to `plm` and back; every
error becomes HTTP in `app.problems`. Nothing is imported here, so that a command which needs no
model does not pay for one.
"""
