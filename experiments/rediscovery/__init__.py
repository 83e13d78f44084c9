"""Does a search that was told nothing of them come to the choices of published designs, MobileDiffusion's above all?

`traits` says what those choices are, `enrichment` how much more often a front has them than chance does.
"""
