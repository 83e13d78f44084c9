"""Distillation of a bundle's network: each method as phases of training, and chains of methods as one plan.

`settings` has the keys of every method, `methods` says which function answers to which, `distill` runs one or a chain of them.
"""
