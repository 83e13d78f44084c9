"""Trackers: MLflow and Weights & Biases beside a sweep or a training, offline unless their own environment says otherwise.

`tracker` says what one is, `registry` knows them by name, `tracking` opens them for a run and keeps their failures from it;
`sweep_log` and `bundle_log` say what of a sweep and of a bundle is logged. What is logged is derived from the run's own files:
a tracker is told everything from the beginning, and takes what it does not have.
"""
