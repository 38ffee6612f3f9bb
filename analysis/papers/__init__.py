"""Studies of what other papers on sharpness-aware minimisation claim, one module a paper."""
