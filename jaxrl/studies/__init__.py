"""Parts of studies that several papers share, on our own environments: backtests, data sets of labelled responses."""
