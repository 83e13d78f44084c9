"""Exports a bundle's network for a runtime: what is exported, into which formats, run there and held to Flax's output.

`graphs` has the functions, `formats` writes and runs them, `comparison` says how far they are off, `sampling_record` what
else a sampler needs, and `export` puts these together as one new folder.
"""
