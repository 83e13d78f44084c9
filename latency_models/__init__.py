"""How long does it take, there? Devices that really run a network, the timing protocol, and a learned predictor.

Everything is imported from its own module, so that no reader pays for a runtime it does not use:
`device` (`get_device`, `default_device`, the interfaces `Device` and `Runnable`), `litert_cpu` and `xla_cpu` (the
devices), `timing` (protocol, `Timing`, repeatability), `measure` (which architectures, in what order, the records),
`kernels` (the fused operations of a layer plan), `features` and `regression` (what the predictor learns from, and
how), `fitting` (`fit`), `predictor` (`Predictor`: predict, save, load), `whole_files` (records that a kill leaves whole).
"""
