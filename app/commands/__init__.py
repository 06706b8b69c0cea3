"""The bodies of the commands, one file for each; `relata.py` declares them.

A file is imported by its own command only: those about masks need no model.
"""
