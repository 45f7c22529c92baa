"""Servers of others around a bundle's own engine, each a module that a process of its own runs.

They read from their environment: BUNDLE, its folder; PORT; THREADS of one run; and BATCH, the most
items in one run.
"""
