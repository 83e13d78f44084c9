"""How long does it take, there? Devices that really run a network, the timing protocol, and a learned predictor.

Everything is imported from its own module, so that no reader pays for a runtime it does not use:
`network` (what is measured or predicted), `device` (`get_device`, `default_device`, the interfaces `Device` and `Session`),
one module a device (`litert_cpu`, `litert_builtin`, `onnxruntime_cpu`, `xla`, `adb`, `csv_device`; `local_device` and
`local_session` are what those of this machine share, `jax_reference` what they are held to), `timing` (protocol, `Timing`,
repeatability), `measure` and `measurements` (the records and their folder), `kernels` and `kernel_labels` (the fused operations
of a network, and what a profile says of them), `kernel_costs` (the model), `fitting` (`fit`), `calibration`, `peak_memory`,
`predictor` (`Predictor`: predict, save, load), `choice` (what to measure), `published_profiles` (figures of others),
`phone_profiles` (predictors anchored on them), `kernel_options` (how a device executes a network), `whole_files` (files that
a kill leaves whole).
"""
